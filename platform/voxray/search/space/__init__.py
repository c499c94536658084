"""The language of search spaces: a JSON file to a tree of choices, and samples of it."""
