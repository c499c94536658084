"""Metrics: counts that add up, and the values computed from them."""
