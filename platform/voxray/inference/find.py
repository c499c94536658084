"""The findings of many scans by one trained run, a scan at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from voxray.config.experiment import Experiment
from voxray.console.progress import OnProgress
from voxray.errors import ScanError
from voxray.inference.detector import Candidates, Detector, Findings
from voxray.inference.load import load_trained
from voxray.inference.predict import errors_of_scan
from voxray.metrics.calibration import Calibration
from voxray.metrics.curves import Floats
from voxray.scans.read import open_file
from voxray.storage.paths import AnyPath


@dataclass(frozen=True, eq=False)
class Found:
    """The outcome of the search of a scan.

    Attributes
    ----------
    scan_id : str
    findings : Findings, optional
        None where the scan cannot be searched.
    proposals : Candidates, optional
        All that was classified, before findings were merged.
    probabilities : ndarray of float64, (proposals,), optional
    problem : str
        Why there are no findings; else empty.
    """

    scan_id: str
    findings: Findings | None = None
    proposals: Candidates | None = None
    probabilities: Floats | None = None
    problem: str = ""


def load_detector(experiment: Experiment, device: torch.device, *, calibrated: bool = True) -> Detector:
    """The detector of an experiment's run, with the settings of detection that the experiment has now.

    Without calibration its findings do not depend on whether the run was evaluated.
    """
    trained = load_trained(experiment.out_path, device)
    settings = trained.experiment.model_copy(update={"detection": experiment.detection})
    trained = replace(trained, experiment=settings)
    return Detector([trained if calibrated else replace(trained, calibration=Calibration())])


def find_in_scan(detector: Detector, scan_id: str, path: AnyPath) -> Found:
    """Search a scan; whatever is wrong with it is a part of the outcome."""
    try:
        with errors_of_scan(path):
            volume = open_file(path)
            proposals = detector.propose(volume, str(path))
            probabilities = detector.score(volume, proposals, str(path))
            return Found(scan_id, detector.merge(proposals, probabilities), proposals, probabilities)
    except ScanError as error:
        return Found(scan_id, problem=str(error))


def find_here(
    experiment: Experiment,
    scans: Sequence[tuple[str, AnyPath]],
    device: torch.device,
    on_progress: OnProgress,
    *,
    calibrated: bool = True,
) -> Iterator[Found]:
    """Search scans, (scan_id, file) each, one after another in this process."""
    detector = load_detector(experiment, device, calibrated=calibrated)
    for number, (scan_id, path) in enumerate(scans, 1):
        yield find_in_scan(detector, scan_id, path)
        on_progress(number, len(scans), scan_id)
