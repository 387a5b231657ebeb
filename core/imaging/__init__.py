"""One image and its mask."""
