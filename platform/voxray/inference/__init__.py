"""Whole scans through a network that sees one window at a time."""
