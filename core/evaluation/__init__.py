"""From a data set to the report."""
