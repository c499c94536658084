"""One HTML file of a run: numbers and pictures."""
