"""Which patches to cut, and cutting them."""
