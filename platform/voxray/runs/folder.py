"""The files of a run, and which stages are finished."""

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from voxray.config.experiment import Experiment
from voxray.storage.atomic import write_bytes, write_json
from voxray.storage.paths import AnyPath, exists, read_bytes

STAGES = ("train", "evaluate")


@dataclass(frozen=True)
class RunFolder:
    """Names of the files in a run's folder."""

    path: AnyPath

    @property
    def experiment(self) -> AnyPath:
        """The resolved experiment."""
        return self.path / "experiment.json"

    @property
    def architecture(self) -> AnyPath:
        """The architecture that was trained, as it was then."""
        return self.path / "architecture.json"

    @property
    def model(self) -> AnyPath:
        """Weights of the best epoch, with the operating point."""
        return self.path / "model.safetensors"

    @property
    def metrics(self) -> AnyPath:
        """Figures for each split."""
        return self.path / "metrics.json"

    @property
    def history(self) -> AnyPath:
        """A row for each epoch."""
        return self.path / "history.parquet"

    @property
    def report(self) -> AnyPath:
        """The report, one file."""
        return self.path / "report.html"

    @property
    def checkpoints(self) -> AnyPath:
        """Last and best checkpoint."""
        return self.path / "checkpoints"

    @property
    def stages(self) -> AnyPath:
        """Which stages are finished, and of what."""
        return self.path / "stages.json"

    @property
    def status(self) -> AnyPath:
        """What the stages are doing, or did last."""
        return self.path / "status.json"

    def pseudonym_key(self) -> bytes:
        """This run's own key for what leaves the machine; drawn when it is first asked for, and kept."""
        path = self.path / "pseudonyms.key"
        if not exists(path):
            write_bytes(path, secrets.token_bytes(32))
        return read_bytes(path)

    def predictions(self, split: str) -> AnyPath:
        """Probabilities of every patch of a split."""
        return self.path / "predictions" / f"{split}.parquet"

    def finished(self, stage: str) -> dict[str, Any] | None:
        """What is recorded of a finished stage: its key and its seconds."""
        record: dict[str, Any] | None = self._records().get(stage)
        return record

    def begin(self, stage: str) -> None:
        """Forget that a stage, and those that build on it, are finished: their results are about to change."""
        later = STAGES[STAGES.index(stage) :]
        write_json(self.stages, {name: record for name, record in self._records().items() if name not in later})

    def mark_finished(self, stage: str, key: str, seconds: float) -> None:
        """Record that a stage is finished; `key` names everything that it depended on."""
        write_json(self.stages, {**self._records(), stage: {"key": key, "seconds": round(seconds, 2)}})

    def _records(self) -> dict[str, Any]:
        return json.loads(read_bytes(self.stages)) if exists(self.stages) else {}


def run_folder(experiment: Experiment) -> RunFolder:
    """The folder of an experiment's run."""
    return RunFolder(experiment.out_path)


def digest(content: Mapping[str, Any]) -> str:
    """A short name for JSON-like content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def train_key(experiment: Experiment, store_digest: str, architecture: str) -> str:
    """Name of everything that a training depends on; workers at most and buffer are, as the order of patches does."""
    parts = experiment.model_dump(mode="json", include={"seed", "intensity", "augment", "training"})
    parts["training"].pop("device")
    parts["training"]["workers"] = experiment.training.most_workers
    return digest({**parts, "store": store_digest, "architecture": json.loads(architecture)})


def evaluate_key(experiment: Experiment, trained: str) -> str:
    """Name of everything that an evaluation depends on."""
    return digest({"train": trained, "seed": experiment.seed, "evaluation": experiment.evaluation.model_dump()})
