"""A run: its folder, and what fills it. Nothing here needs Ray."""
