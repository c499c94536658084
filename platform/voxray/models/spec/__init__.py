"""Architecture JSON to frozen, checked specs."""
