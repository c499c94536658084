"""Voxray: medical scans to sharded patch stores, JSON networks, honest metrics, on Ray."""

__version__ = "0.1.0"
