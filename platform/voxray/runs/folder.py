"""Names of all files of a run, a search, a prediction and an inspection, and which stages of a run are finished."""

import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from voxray.config.experiment import Experiment
from voxray.storage.atomic import write_bytes, write_json
from voxray.storage.paths import AnyPath, exists, matching, read_bytes, relative_path, remove_folder

STAGES = ("train", "evaluate")
LAST_CHECKPOINT, BEST_CHECKPOINT = "last.safetensors", "best.safetensors"  # in `RunFolder.checkpoints`

AnyPathT = TypeVar("AnyPathT", bound=AnyPath)


class _Entry(Generic[AnyPathT]):
    """A file or folder with a fixed name in the folder `path` of the object that has this attribute."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, folder: Any, owner: type) -> AnyPathT:
        entry: AnyPathT = folder.path / self.name
        return entry


@dataclass(frozen=True)
class RunFolder:
    """Names of the files in a run's folder.

    Attributes
    ----------
    path : AnyPath
        The folder.
    experiment, architecture : AnyPath
        The resolved experiment, and the architecture as it was when it was trained.
    model : AnyPath
        Weights of the best epoch, with the operating point.
    history : AnyPath
        A row for each epoch.
    metrics : AnyPath
        Metrics of each split.
    report : AnyPath
    checkpoints : AnyPath
        A folder with the last and the best checkpoint.
    stages : AnyPath
        Which stages are finished, and with which inputs.
    status : AnyPath
        What the stages are doing, or did last.
    """

    path: AnyPath

    experiment = _Entry[AnyPath]("experiment.json")
    architecture = _Entry[AnyPath]("architecture.json")
    model = _Entry[AnyPath]("model.safetensors")
    history = _Entry[AnyPath]("history.parquet")
    metrics = _Entry[AnyPath]("metrics.json")
    report = _Entry[AnyPath]("report.html")
    checkpoints = _Entry[AnyPath]("checkpoints")
    stages = _Entry[AnyPath]("stages.json")
    status = _Entry[AnyPath]("status.json")

    def predictions(self, split: str) -> AnyPath:
        """A row for each patch of a split, or for each scan where scans have masks."""
        return self.path / "predictions" / f"{split}.parquet"

    def label_maps(self, split: str) -> "PredictionFolder":
        """The predicted label maps of a split."""
        return PredictionFolder(self.path / "predictions" / split)

    def pseudonym_key(self) -> bytes:
        """The key of the pseudonyms in all that leaves the machine; drawn at the first call, and kept."""
        path = self.path / "pseudonyms.key"
        if not exists(path):
            write_bytes(path, secrets.token_bytes(32))
        return read_bytes(path)

    def finished(self, stage: str) -> dict[str, Any] | None:
        """The record of a finished stage, its key and its seconds; None where a file that it wrote is missing."""
        record: dict[str, Any] = read_state(self.stages).get(stage, {})
        if not {"key", "seconds", "files"} <= record.keys() or self._missing(record["files"]):
            return None
        return record

    def begin(self, stage: str) -> None:
        """Forget that a stage, and those that build on it, are finished: their results are about to change."""
        later = STAGES[STAGES.index(stage) :]
        write_json(self.stages, {name: record for name, record in read_state(self.stages).items() if name not in later})

    def remove_results(self) -> None:
        """Remove the model, and all that was computed with it."""
        remove_folder(self.path / "predictions")
        for path in (self.report, self.metrics, self.history, self.model):
            path.unlink(missing_ok=True)

    def mark_finished(self, stage: str, key: str, seconds: float, files: Iterable[AnyPath]) -> None:
        """Record that a stage is finished.

        Parameters
        ----------
        stage : str
        key : str
            Names everything that the stage depended on.
        seconds : float
        files : iterable of AnyPath
            All that the stage wrote.
        """
        names = [relative_path(self.path, file) for file in files]
        record = {"key": key, "seconds": round(seconds, 2), "files": names}
        write_json(self.stages, {**read_state(self.stages), stage: record})

    def _missing(self, names: list[str]) -> set[str]:
        # One listing of each folder costs less than a request for each file.
        patterns = {name.rpartition("/")[0] for name in names}
        patterns = {f"{folder}/*" if folder else "*" for folder in patterns}
        present = {relative_path(self.path, path) for pattern in patterns for path in matching(self.path, pattern)}
        return set(names) - present


@dataclass(frozen=True)
class SearchFolder:
    """Names of the files in a search's folder, which lies on a disk.

    Attributes
    ----------
    path : Path
        The folder.
    search : Path
        What all trials share.
    rejected : Path
        A line for each network that exceeds a limit or cannot be built.
    leaderboard, report : Path
    best_architecture, best_settings, best_run : Path
        The best trial, for ``voxray train``, and the folder of that run.
    survey : Path
        The chart of ``voxray tune --dry-run``.
    ray_tune : Path
        What Ray Tune keeps while it runs.
    """

    path: Path

    search = _Entry[Path]("search.json")
    rejected = _Entry[Path]("rejected.jsonl")
    leaderboard = _Entry[Path]("leaderboard.csv")
    report = _Entry[Path]("report.html")
    best_architecture = _Entry[Path]("best/architecture.json")
    best_settings = _Entry[Path]("best/settings.toml")
    best_run = _Entry[Path]("best/trained_run")
    survey = _Entry[Path]("dry_run.png")
    ray_tune = _Entry[Path]("ray_tune")

    def trial(self, name: str) -> Path:
        """The run's folder of a trial."""
        return self.path / "trials" / name

    def record(self, name: str) -> Path:
        """The record of a trial: its settings, state and history."""
        return self.trial(name) / "trial.json"

    def records(self) -> list[Path]:
        """The records of all trials, in the order of their names."""
        return sorted(self.path.glob("trials/*/trial.json"))


@dataclass(frozen=True)
class PredictionFolder:
    """Names of the predictions of scans, by the scan's name without its suffix."""

    path: AnyPath

    def label_map(self, scan: str) -> AnyPath:
        """The classes of all voxels."""
        return self.path / f"{scan}_seg.nii.gz"

    def probabilities(self, scan: str) -> AnyPath:
        """Probabilities of the classes of all voxels."""
        return self.path / f"{scan}_prob.nii.gz"

    def classification(self, scan: str) -> AnyPath:
        """The class of a scan, with its probabilities."""
        return self.path / f"{scan}.json"

    def saliency(self, scan: str) -> AnyPath:
        """Slices with the saliency of the predicted class."""
        return self.path / f"{scan}_saliency.png"


@dataclass(frozen=True)
class InspectionFolder:
    """Names of the files of an inspection: the page, its summary and a row for each scan."""

    path: AnyPath

    page = _Entry[AnyPath]("inspection.html")
    summary = _Entry[AnyPath]("inspection.json")
    scans = _Entry[AnyPath]("scans.parquet")


def run_folder(experiment: Experiment) -> RunFolder:
    """The folder of an experiment's run."""
    return RunFolder(experiment.out_path)


def read_state(path: AnyPath) -> dict[str, Any]:
    """The JSON object in a file of a run's state; empty if it is missing or cannot be read."""
    try:
        content = json.loads(read_bytes(path))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def digest(content: Mapping[str, Any]) -> str:
    """A short name for JSON-like content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def train_key(experiment: Experiment, store_digest: str, architecture: str) -> str:
    """Name of everything that a training depends on: most workers and buffer too, which set the order of patches."""
    parts = experiment.model_dump(mode="json", include={"seed", "intensity", "augment", "training"})
    parts["training"].pop("device")
    parts["training"]["workers"] = experiment.training.most_workers
    return digest({**parts, "store": store_digest, "architecture": json.loads(architecture)})


def evaluate_key(experiment: Experiment, trained: str) -> str:
    """Name of everything that an evaluation depends on."""
    return digest({"train": trained, "seed": experiment.seed, "evaluation": experiment.evaluation.model_dump()})
