"""Scans to predictions of a trained run."""

from collections.abc import Sequence
from dataclasses import replace

from voxray.errors import DataError, WorkError
from voxray.executors.base import Executor
from voxray.inference.predict import SKIPPED, Options, check_scans, scan_name
from voxray.runs.folder import RunFolder
from voxray.runs.status import reported
from voxray.stages.common import OnStatus
from voxray.storage.paths import AnyPath
from voxray.training.checkpoint import read_metadata


def predict(run: AnyPath, scans: Sequence[AnyPath], options: Options, executor: Executor, on_status: OnStatus) -> None:
    """Whole scans → label maps, or predicted classes."""
    check_scans(scans)
    if options.mask is not None and len(scans) > 1:
        raise DataError("--mask", f"is the mask of one scan, got {len(scans)} scans", "Predict them one by one")
    read_metadata(RunFolder(run).model)
    absolute = [path.absolute() for path in scans]
    options = replace(options, out=options.out.resolve(), mask=options.mask and options.mask.resolve())
    lost = 0
    with reported(RunFolder(options.out), "predict", "scans") as on_progress:
        for path, outcome in executor.predict_scans(run.resolve(), absolute, options, on_progress):
            on_status(f"predict: {scan_name(path)}: {outcome}")
            lost += outcome.startswith(SKIPPED)
        if lost:
            raise WorkError("predict", f"{lost} of {len(scans)} scans were skipped", "The reasons are given above")
