"""A search for a network: what is tried, what came of it, and what is tried next. Knows nothing of Ray."""
