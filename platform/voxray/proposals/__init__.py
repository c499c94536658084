"""Candidates of a scan without a list: where a nodule may be, found without training."""
