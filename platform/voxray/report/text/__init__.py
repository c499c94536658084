"""Sentences of the reports."""
