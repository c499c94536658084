"""Inspection of a data set before training: statistics of each scan, and the issues among them."""
