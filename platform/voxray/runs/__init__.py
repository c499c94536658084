"""The folder of a run: names of its files, finished stages and status."""
