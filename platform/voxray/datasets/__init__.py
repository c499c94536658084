"""A folder on disk in one of the public layouts → a Manifest."""
