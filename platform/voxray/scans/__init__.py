"""Scans on disk → volumes in canonical axes, in the scan's own numbers."""
