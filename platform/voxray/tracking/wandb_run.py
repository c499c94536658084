"""The W&B run. No other module imports W&B, and it is offline unless the user has logged in."""

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

MODES = {"online", "offline", "disabled"}


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture (line, column[, 3]) with caption and masks: name, such as ``truth`` → classes (line, column)."""

    caption: str
    pixels: NDArray[np.uint8]
    masks: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)


class Tracker:
    """One W&B run, used as a context manager.

    Parameters
    ----------
    folder : AnyPath
        The run's folder; W&B's files go to ``wandb/`` in it.
    name, project : str
    run_id : str
        Stable, so that resumed training resumes its run.
    mode : str
        ``auto``, ``online``, ``offline`` or ``disabled``.
    config : mapping
        The resolved experiment; its epochs are the steps.
    group : str, optional
        Name of a group of runs, such as those of a search.
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
        self.stack = ExitStack()
        # W&B reads none of its earlier files, so they are not fetched.
        local = self.stack.enter_context(folder_to_fill(self.folder))
        self.run = wandb.init(
            dir=str(local),
            id=self.run_id,
            name=self.name,
            project=self.project,
            group=self.group,
            mode=self.mode,  # type: ignore[arg-type]
            resume="allow",
            config=dict(self.config),
            # Metadata of the machine would contain the command line, and so the names of folders.
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True, x_disable_meta=True),
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A trial that is pruned leaves by SystemExit.
        with self.stack:
            self.run.finish(exit_code=0 if error is None or (isinstance(error, SystemExit) and not error.code) else 1)

    def log_epoch(self, row: Mapping[str, Any]) -> None:
        """Losses and metrics of an epoch, as ``train/…`` and ``val/…``."""
        renamed = {key.replace("_", "/", 1) if key.startswith(("train_", "val_")) else key: row[key] for key in row}
        self.run.log(renamed, step=int(row["epoch"]))

    def log_predictions(self, labels: Ints, predicted: Ints, probabilities: Floats, classes: Sequence[str]) -> None:
        """Confusion matrix and PR curve of n validation patches, whose probabilities are (n, classes)."""
        names = list(classes)
        matrix = wandb.plot.confusion_matrix(y_true=labels.tolist(), preds=predicted.tolist(), class_names=names)
        curve = wandb.plot.pr_curve(labels.tolist(), probabilities.tolist(), labels=names)
        self._log_after_training({"val/confusion_matrix": matrix, "val/pr_curve": curve})

    def log_pictures(self, key: str, pictures: Sequence[Picture], classes: Sequence[str]) -> None:
        """Pictures under one key; their masks can be toggled and show the names of the classes."""
        names = dict(enumerate(classes))
        images = [
            wandb.Image(
                picture.pixels,
                caption=picture.caption,
                masks={name: {"mask_data": mask, "class_labels": names} for name, mask in picture.masks.items()},
            )
            for picture in pictures
        ]
        self._log_after_training({key: images})

    def log_table(self, key: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """A table of numbers, texts or None."""
        table = wandb.Table(columns=list(columns), data=list(map(list, rows)), allow_mixed_types=True)
        self.run.log({key: table})

    def _log_after_training(self, content: Mapping[str, Any]) -> None:
        # Steps are epochs, and a resumed offline run counts them from 0 again.
        step = int(self.config["training"]["epochs"]) + 1
        self.run.log(dict(content), step=max(step, self.run.step))

    def log_summary(self, metrics: Mapping[str, Mapping[str, Any]]) -> None:
        """Final metrics, such as ``final/val/recall``, in the run's summary."""
        for split, values in metrics.items():
            for name, value in values.items():
                if isinstance(value, int | float):
                    self.run.summary[f"final/{split}/{name}"] = value


def default_entity() -> str:
    """The default user or team of the logged-in user; asks W&B."""
    return str(wandb.Api().default_entity)


def choose_mode(setting: str) -> str:
    """Resolve ``auto``: online for a user who has logged in, otherwise offline."""
    if setting in MODES:
        return setting
    return "online" if wandb.login(prompt=False, verify=False) else "offline"
