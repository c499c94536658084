"""W&B runs and workspaces; the only importer of W&B."""
