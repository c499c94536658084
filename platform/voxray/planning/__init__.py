"""Planning: from a data set to an experiment that fits it."""
