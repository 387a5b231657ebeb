"""Own data: which files belong together, and what their masks mean."""
