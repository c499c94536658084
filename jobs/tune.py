"""`voxray tune` as a job of a Ray cluster, with the same options."""

import sys

from voxray.cli.app import main

main(["tune", *sys.argv[1:]])
