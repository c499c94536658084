"""Fitting a network to a feed. Knows torch and its process groups, and nothing of Ray."""
