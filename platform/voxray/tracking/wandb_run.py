"""The W&B run. No other module imports W&B, and it is offline unless the user has logged in.

Tracking never costs a result: whatever fails here is one warning, after which nothing more is logged.
"""

import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from voxray.console.failures import describe, print_warning
from voxray.errors import ConfigError
from voxray.metrics.curves import Floats, Ints
from voxray.storage.paths import AnyPath, folder_to_fill

# W&B is imported where it is used: it needs half a second and a temporary folder.

MODES = ("online", "offline", "disabled")
NOBODY = "voxray"  # instead of host and user
ENDS = ("interval_low", "interval_high")

Method = TypeVar("Method", bound=Callable[..., None])


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture (line, column[, 3]) with caption and masks: name, such as ``truth`` → classes (line, column)."""

    caption: str
    pixels: NDArray[np.uint8]
    masks: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)


def _if_active(method: Method) -> Method:
    """A method of `Tracker` that does nothing where tracking is off, and switches it off where it fails."""

    @functools.wraps(method)
    def attempted(tracker: "Tracker", *arguments: Any) -> None:
        if tracker.run is not None:
            with tracker.attempt():
                method(tracker, *arguments)

    return attempted  # type: ignore[return-value]


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
    on_warning : callable
        Receives the one line of a failure.

    Attributes
    ----------
    run : wandb.Run or None
        None where tracking is disabled or has failed.
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
        on_warning: Callable[[str], None] = print_warning,
    ) -> None:
        self.folder, self.name, self.project, self.run_id, self.group = folder, name, project, run_id, group
        self.mode, self.config, self.on_warning = mode, config, on_warning
        self.run: Any = None

    def __enter__(self) -> "Tracker":
        self.stack = ExitStack()
        if self.mode != "disabled":
            with self.attempt():
                self._begin()
        return self

    def _begin(self) -> None:
        # W&B reads none of its earlier files, so they are not fetched.
        local = self.stack.enter_context(folder_to_fill(self.folder))
        self.stack.enter_context(_environment(local))
        mode = choose_mode(self.mode)
        if mode == "disabled":
            return
        import wandb

        self.run = wandb.init(
            dir=str(local),
            id=self.run_id,
            name=self.name,
            project=self.project,
            group=self.group,
            mode=mode,  # type: ignore[arg-type]
            resume="allow",
            config=dict(self.config),
            settings=wandb.Settings(
                silent=True,
                console="off",
                x_disable_stats=True,
                # Command line, folders, repository, host and user stay here.
                x_disable_meta=True,
                x_disable_machine_info=True,
                disable_git=True,
                save_code=False,
                program=NOBODY,
                host=NOBODY,
                username=NOBODY,
            ),
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A trial that is pruned leaves by SystemExit.
        code = 0 if error is None or (isinstance(error, SystemExit) and not error.code) else 1
        with self.attempt(), self.stack:
            if self.run is not None:
                self.run.finish(exit_code=code)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Turn a failure in the block into a warning, and end tracking."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  W&B, its service and its network raise anything
            self.on_warning(f"W&B is off from here on: {describe(error)}")
            run, self.run = self.run, None
            if run is not None:
                with suppress(Exception):
                    run.finish(exit_code=1)

    @_if_active
    def log_epoch(self, row: Mapping[str, Any]) -> None:
        """Losses and metrics of an epoch, as ``train/…`` and ``val/…``."""
        renamed = {key.replace("_", "/", 1) if key.startswith(("train_", "val_")) else key: row[key] for key in row}
        self.run.log(renamed, step=int(row["epoch"]))

    @_if_active
    def log_predictions(self, labels: Ints, predicted: Ints, probabilities: Floats, classes: Sequence[str]) -> None:
        """Confusion matrix and PR curve of n validation patches, whose probabilities are (n, classes)."""
        import wandb

        names = list(classes)
        matrix = wandb.plot.confusion_matrix(y_true=labels.tolist(), preds=predicted.tolist(), class_names=names)
        curve = wandb.plot.pr_curve(labels.tolist(), probabilities.tolist(), labels=names)
        charts: dict[str, Any] = {"val/confusion_matrix": matrix, "val/pr_curve": curve}
        for key, chart in charts.items():
            self._keep_in_run(f"{key}_table", chart.table)
        self._log_after_training(charts)

    @_if_active
    def log_froc(self, key: str, curves: Mapping[str, tuple[Floats, Floats]]) -> None:
        """FROC curves in one chart by their names: false positives a scan and sensitivities."""
        import wandb

        rates, sensitivities = zip(*((rates.tolist(), found.tolist()) for rates, found in curves.values()), strict=True)
        title, across = "FROC: sensitivity", "false positives a scan"
        chart: Any = wandb.plot.line_series(rates, sensitivities, keys=list(curves), title=title, xname=across)
        self._keep_in_run(f"{key}_table", chart.table)
        self._log_after_training({key: chart})

    @_if_active
    def log_pictures(self, key: str, pictures: Sequence[Picture], classes: Sequence[str]) -> None:
        """Pictures under one key; their masks can be toggled and show the names of the classes."""
        import wandb

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

    @_if_active
    def log_table(self, key: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """A table of numbers, texts or None."""
        import wandb

        table = wandb.Table(columns=list(columns), data=list(map(list, rows)), allow_mixed_types=True)
        self._keep_in_run(key, table)
        self.run.log({key: table})

    def _keep_in_run(self, key: str, table: Any) -> None:
        """Write a table to the run's files now, or W&B also makes an artifact of it, with absolute paths."""
        table.bind_to_run(self.run, key, self.run.step)

    def _log_after_training(self, content: Mapping[str, Any]) -> None:
        # Steps are epochs, and a resumed offline run counts them from 0 again.
        step = int(self.config["training"]["epochs"]) + 1
        self.run.log(dict(content), step=max(step, self.run.step))

    @_if_active
    def log_summary(self, metrics: Mapping[str, Mapping[str, Any]]) -> None:
        """The numbers of final metrics in the run's summary, and their intervals.

        Such as ``final/val/recall``, ``final/val/interval_low/recall`` and ``final/val/classes/nodule/recall``, with
        ``final/val/classes/nodule/interval_low/recall``; those that are re-weighted to the own mix of the list as
        ``final/val/population/recall``, and those of whole scans as ``final/val/whole_scans/cpm``.
        """
        for key, value in _numbers("final", metrics):
            self.run.summary[key] = value


def _numbers(key: str, value: Any) -> Iterator[tuple[str, int | float]]:
    """The numbers in nested mappings, by their path, and both ends of intervals."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            if name == "intervals":
                for number, end in enumerate(ENDS):
                    yield from _numbers(f"{key}/{end}", {name: pair[number] for name, pair in part.items() if pair})
            else:
                yield from _numbers(f"{key}/{name}", part)
    elif isinstance(value, int | float):
        yield key, value


def default_entity() -> str:
    """The default user or team of the logged-in user; asks W&B."""
    import wandb

    return str(wandb.Api().default_entity)


def choose_mode(setting: str) -> str:
    """Resolve ``auto``: off or offline where ``WANDB_MODE`` says so, else online for a user who has logged in.

    An empty ``WANDB_MODE`` is off.

    Raises
    ------
    ConfigError
        An unknown ``WANDB_MODE``; or the setting is ``online``, and nobody has logged in.
    """
    if setting in ("offline", "disabled"):
        return setting
    named = os.environ.get("WANDB_MODE", "online") or "disabled"
    named = "offline" if named == "dryrun" else named  # W&B's older word
    if setting == "auto" and named not in MODES:
        raise ConfigError("WANDB_MODE", f"expected {', '.join(MODES)} or nothing, got '{named}'", "Correct or unset it")
    if setting == "auto" and named != "online":
        return named
    if _has_login():
        return "online"
    if setting == "online":
        raise ConfigError("tracking.mode", "'online' needs a login", "Run wandb login, or set WANDB_API_KEY")
    return "offline"


def _has_login() -> bool:
    import wandb

    return bool(wandb.login(prompt=False, verify=False))


@contextmanager
def _environment(folder: Path) -> Iterator[None]:
    """Keep all that W&B writes in the run's folder, off the home and the terminal, for the time of the block."""
    names, cache = ("WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR"), folder / "wandb" / "cache"
    changes = {"WANDB_DIR": str(folder), **dict.fromkeys(names, str(cache)), "WANDB_SILENT": "true"}
    earlier = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in earlier.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
