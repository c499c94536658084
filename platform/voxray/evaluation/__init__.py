"""Counts that add, and figures made of them."""
