"""`voxray predict` as a job of a Ray cluster, with the same options."""

import sys

from voxray.cli.app import main

main(["predict", *sys.argv[1:]])
