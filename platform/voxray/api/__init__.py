"""What stands behind the public names of ``voxray``. What is slow to import is imported where it is used."""

import os

AnyText = str | os.PathLike[str]  # a path, or a URL of object storage
