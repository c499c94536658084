"""Names of everything that a stage depends on: a finished stage with the same key is reused."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from voxray.config.experiment import Experiment
from voxray.runs.proposing import proposing_key


def digest(content: Mapping[str, Any]) -> str:
    """A short name for JSON-like content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def training_settings(experiment: Experiment) -> dict[str, Any]:
    """The settings that a training depends on: most workers and buffer too, which set the order of patches."""
    settings = experiment.model_dump(mode="json", include={"seed", "intensity", "augment", "training"})
    settings["training"].pop("device")
    settings["training"]["workers"] = experiment.training.most_workers
    return settings


def train_key(
    experiment: Experiment, store_digest: str, content_digest: str, architecture: str, annotations: str = ""
) -> str:
    """Name of everything that a training depends on; of the store, its settings and its patches.

    `annotations` is the name of the lists of annotations, where they choose the epoch.
    """
    parts = {"store": store_digest, "content": content_digest, "architecture": json.loads(architecture)}
    chosen_by = {"annotations": annotations} if annotations else {}
    return digest({**training_settings(experiment), **parts, **chosen_by})


def evaluate_key(experiment: Experiment, trained: str) -> str:
    """Name of everything that an evaluation depends on."""
    settings = {name: getattr(experiment, name).model_dump() for name in ("evaluation", "detection")}
    inputs = {"train": trained, "seed": experiment.seed, "proposing": proposing_key(experiment)}
    return digest({**inputs, **settings})
