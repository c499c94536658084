"""The page of masks that were scored."""
