"""A trained model on a split: patches, whole scans and folds → metrics."""
