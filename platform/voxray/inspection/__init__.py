"""A look at a data set before training on it: facts of each scan, and what is wrong among them."""
