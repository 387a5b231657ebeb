"""Data, training, inference and scores around the networks in nets/."""
