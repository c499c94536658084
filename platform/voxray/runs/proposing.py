"""The run whose network proposes the candidates of a classifier's run."""

from voxray.config.experiment import Experiment
from voxray.runs.folder import RunFolder
from voxray.runs.records import read_records
from voxray.storage.paths import exists, to_path


def proposing_run(experiment: Experiment) -> RunFolder | None:
    """Its folder, for a fold that of the same fold; None where no network proposes."""
    if experiment.detection.model is None:
        return None
    path, fold = to_path(experiment.detection.model), experiment.split.fold
    of_fold = RunFolder(path / f"fold_{fold}")
    return of_fold if fold is not None and exists(of_fold.model) else RunFolder(path)


def proposing_key(experiment: Experiment) -> str | None:
    """Name of everything that the training of the proposing network depended on; None where none proposes."""
    folder = proposing_run(experiment)
    record = None if folder is None else read_records(folder.stages).get("train")
    return None if record is None else record.key
