"""`voxray ingest` as a job of a Ray cluster, with the same options."""

import sys

from voxray.cli.app import main

main(["ingest", *sys.argv[1:]])
