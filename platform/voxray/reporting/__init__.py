"""HTML pages of runs, searches and data sets."""
