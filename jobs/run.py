"""`voxray run` as a job of a Ray cluster, with the same options."""

from voxray.cli.app import run_job

run_job(__file__)
