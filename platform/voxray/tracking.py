"""Weights & Biases, and nothing else imports it. Offline unless the user has logged in."""

import logging
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import wandb
from numpy.typing import NDArray

from voxray.evaluation.classification import call_classes
from voxray.training.step import Predictions

LOG = logging.getLogger(__name__)
PICTURES = 8
MODES = {"online", "offline", "disabled"}


class Tracker:
    """One W&B run, entered and left as a context.

    Parameters
    ----------
    folder : Path
        The run's folder; W&B's files go to ``wandb/`` in it.
    name, project : str
    run_id : str
        Stable, so that a continued training continues its run.
    mode : str
        ``auto``, ``online``, ``offline`` or ``disabled``.
    config : mapping
        The resolved experiment.
    """

    def __init__(
        self, folder: Path, *, name: str, project: str, run_id: str, mode: str, config: Mapping[str, Any]
    ) -> None:
        self.folder, self.name, self.project, self.run_id = folder, name, project, run_id
        self.mode, self.config = choose_mode(mode), config

    def __enter__(self) -> "Tracker":
        self.folder.mkdir(parents=True, exist_ok=True)
        self.run = wandb.init(
            dir=str(self.folder),
            id=self.run_id,
            name=self.name,
            project=self.project,
            mode=self.mode,  # type: ignore[arg-type]
            resume="allow",
            config=dict(self.config),
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True),
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.run.finish(exit_code=0 if error is None else 1)

    def log_epoch(self, row: Mapping[str, Any]) -> None:
        """Losses and figures of an epoch, as ``train/…`` and ``val/…``."""
        named = {key.replace("_", "/", 1) if key.startswith(("train_", "val_")) else key: row[key] for key in row}
        self.run.log(named, step=int(row["epoch"]))

    def log_validation(
        self,
        predictions: Predictions,
        classes: tuple[str, ...],
        images: NDArray[np.float32],
        chosen: NDArray[np.int64],
    ) -> None:
        """Confusion matrix, PR curve, and a few patches with truth and prediction.

        Parameters
        ----------
        predictions : Predictions
        classes : tuple of str
        images : ndarray, (n, x, y), in [0, 1]
        chosen : ndarray of int, (n,)
            Which prediction each image belongs to.
        """
        called = call_classes(predictions.probabilities)
        labels = predictions.labels.tolist()
        names = list(classes)
        pictures = [
            wandb.Image(
                (255 * image.T).astype(np.uint8),
                caption=f"truth {names[labels[each]]}, called {names[called[each]]} "
                f"({predictions.probabilities[each].max():.0%})",
            )
            for image, each in zip(images, chosen.tolist(), strict=True)
        ]
        matrix = wandb.plot.confusion_matrix(y_true=labels, preds=called.tolist(), class_names=names)
        curve = wandb.plot.pr_curve(labels, predictions.probabilities.tolist(), labels=names)
        self.run.log({"val/confusion_matrix": matrix, "val/pr_curve": curve, "val/patches": pictures})

    def log_summary(self, metrics: Mapping[str, Mapping[str, Any]]) -> None:
        """Final figures, as ``val/recall`` and so on, in the run's summary."""
        for split, values in metrics.items():
            for name, value in values.items():
                if isinstance(value, int | float):
                    self.run.summary[f"final/{split}/{name}"] = value


def choose_mode(setting: str) -> str:
    """``auto`` is online for a user who has logged in, and offline for everyone else."""
    if setting in MODES:
        return setting
    return "online" if wandb.login(prompt=False, verify=False) else "offline"
