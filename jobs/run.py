"""`voxray run` as a job of a Ray cluster, with the same options."""

import sys

from voxray.cli.app import main

main(["run", *sys.argv[1:]])
