"""Programs that are run once."""
