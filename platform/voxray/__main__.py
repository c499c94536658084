"""``python -m voxray``."""

from voxray.cli.app import main

main()
