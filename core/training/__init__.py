"""From data sets to a trained model."""
