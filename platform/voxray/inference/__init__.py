"""A trained run and whole scans: classes, label maps, saliency."""
