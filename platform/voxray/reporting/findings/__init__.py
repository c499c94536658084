"""The page of a scan's findings."""
