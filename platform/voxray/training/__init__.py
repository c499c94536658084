"""Training a network on the batches of a loader, with torch and its process groups alone."""
