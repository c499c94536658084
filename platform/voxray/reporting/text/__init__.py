"""Sentences, numbers and metrics of the reports as text."""
