"""Batches of patches: the order, the reading, normalization and augmentation."""
