"""Architecture specs → shapes (plain integers) → torch modules."""
