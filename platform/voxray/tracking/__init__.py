"""The only importer of W&B: the run, and the workspace that shows it."""
