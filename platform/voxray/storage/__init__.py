"""Paths, URLs, atomic writes and locks."""
