"""Other data than VOC and ISBI, and which data is meant."""
