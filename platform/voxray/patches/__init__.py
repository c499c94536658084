"""Which patches to cut, and cutting them: a volume in, patches out, no files."""
