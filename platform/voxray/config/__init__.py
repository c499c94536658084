"""Files that users write, parsed into frozen, checked specs."""
