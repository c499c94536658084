"""The Zarr patch store and its index. The format is described in docs/store.md."""
