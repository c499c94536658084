"""Scans in, files of their predictions out."""
