"""The stages of an experiment, which commands and the Python API run."""
