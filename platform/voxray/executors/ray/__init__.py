"""The only importers of Ray: the same work, spread over a cluster."""
