"""Progress, units and signals of a terminal session."""
