"""Synthetic data sets in the layout of each real one."""
