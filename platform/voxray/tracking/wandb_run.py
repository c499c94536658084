"""Weights & Biases, and nothing else imports it. Offline unless the user has logged in."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np
import wandb
from numpy.typing import NDArray

from voxray.metrics.curves import Floats, Ints
from voxray.storage.paths import AnyPath, folder_to_fill

LOG = logging.getLogger(__name__)
MODES = {"online", "offline", "disabled"}


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture with what is said of it.

    Attributes
    ----------
    caption : str
    pixels : ndarray of uint8, (line, column) or (line, column, 3)
    masks : mapping
        Name, such as truth → classes of the pixels, (line, column) uint8.
    """

    caption: str
    pixels: NDArray[np.uint8]
    masks: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)


class Tracker:
    """One W&B run, entered and left as a context.

    Parameters
    ----------
    folder : AnyPath
        The run's folder; W&B's files go to ``wandb/`` in it.
    name, project : str
    run_id : str
        Stable, so that a continued training continues its run.
    mode : str
        ``auto``, ``online``, ``offline`` or ``disabled``.
    config : mapping
        The resolved experiment; its epochs are the steps.
    group : str, optional
        Of runs that belong together, such as a search's.
    """

    def __init__(
        self,
        folder: AnyPath,
        *,
        name: str,
        project: str,
        run_id: str,
        mode: str,
        config: Mapping[str, Any],
        group: str | None = None,
    ) -> None:
        self.folder, self.name, self.project, self.run_id, self.group = folder, name, project, run_id, group
        self.mode, self.config = choose_mode(mode), config

    def __enter__(self) -> "Tracker":
        self.kept = ExitStack()
        # What W&B does for itself is no reason to fetch what it did before.
        local = self.kept.enter_context(folder_to_fill(self.folder))
        self.run = wandb.init(
            dir=str(local),
            id=self.run_id,
            name=self.name,
            project=self.project,
            group=self.group,
            mode=self.mode,  # type: ignore[arg-type]
            resume="allow",
            config=dict(self.config),
            # What W&B would tell of the machine has the command line in it, and so the names of folders.
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True, x_disable_meta=True),
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A trial that is pruned leaves by SystemExit.
        with self.kept:
            self.run.finish(exit_code=0 if error is None or (isinstance(error, SystemExit) and not error.code) else 1)

    def log_epoch(self, row: Mapping[str, Any]) -> None:
        """Losses and figures of an epoch, as ``train/…`` and ``val/…``."""
        named = {key.replace("_", "/", 1) if key.startswith(("train_", "val_")) else key: row[key] for key in row}
        self.run.log(named, step=int(row["epoch"]))

    def log_predictions(self, labels: Ints, predicted: Ints, probabilities: Floats, classes: Sequence[str]) -> None:
        """Confusion matrix and PR curve of the validation patches.

        Parameters
        ----------
        labels, called : ndarray of int, (n,)
        probabilities : ndarray, (n, classes)
        classes : sequence of str
        """
        names = list(classes)
        matrix = wandb.plot.confusion_matrix(y_true=labels.tolist(), preds=predicted.tolist(), class_names=names)
        curve = wandb.plot.pr_curve(labels.tolist(), probabilities.tolist(), labels=names)
        self._log_after_training({"val/confusion_matrix": matrix, "val/pr_curve": curve})

    def log_pictures(self, key: str, pictures: Sequence[Picture], classes: Sequence[str]) -> None:
        """Pictures under one name; their masks can be switched on and off, and name the classes."""
        names = dict(enumerate(classes))
        images = [
            wandb.Image(
                each.pixels,
                caption=each.caption,
                masks={name: {"mask_data": mask, "class_labels": names} for name, mask in each.masks.items()},
            )
            for each in pictures
        ]
        self._log_after_training({key: images})

    def log_table(self, key: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """A table; its cells are numbers, texts or None."""
        self.run.log(
            {key: wandb.Table(columns=list(columns), data=[list(row) for row in rows], allow_mixed_types=True)}
        )

    def _log_after_training(self, content: Mapping[str, Any]) -> None:
        # Offline a continued run counts its steps from 0 again, and those are the epochs.
        after = int(self.config["training"]["epochs"]) + 1
        self.run.log(dict(content), step=max(after, self.run.step))

    def log_summary(self, metrics: Mapping[str, Mapping[str, Any]]) -> None:
        """Final figures, as ``final/val/recall`` and so on, in the run's summary."""
        for split, values in metrics.items():
            for name, value in values.items():
                if isinstance(value, int | float):
                    self.run.summary[f"final/{split}/{name}"] = value


def own_entity() -> str:
    """The user, or the team that runs of the user go to unless told otherwise; asks W&B."""
    return str(wandb.Api().default_entity)


def choose_mode(setting: str) -> str:
    """``auto`` is online for a user who has logged in, and offline for everyone else."""
    if setting in MODES:
        return setting
    return "online" if wandb.login(prompt=False, verify=False) else "offline"
