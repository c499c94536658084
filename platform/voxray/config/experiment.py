"""An experiment: one TOML file that says everything about a run.

Paths written in the file are relative to the file; paths given with ``--set`` are relative to the working directory.
``${NAME}`` and ``${NAME:-default}`` in a path take the value of an environment variable, but not of one that is a
secret. A URL such as ``s3://bucket/folder`` may stand for a path.
"""

import json
import os
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, PositiveFloat, ValidationError, field_validator, model_validator

from voxray.config.checking import Spec, describe_problems
from voxray.errors import ConfigError, ConfigFileError
from voxray.places import Place, is_url, place, read_bytes
from voxray.privacy import read_key

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[int, Field(ge=1)]

SECRET_NAME = re.compile(r"((^|_)(key|secret|token)|password|passwd|passphrase)(_id)?$", re.IGNORECASE)
PATH_KEYS = (("out",), ("data", "root"), ("store", "path"), ("model", "architecture"), ("privacy", "key_file"))


class DataSpec(Spec):
    """Which folder, in which layout.

    `channels` are the columns of a table's manifest that name the files of a scan's channels.
    `folders` names the classes of a MosMedData set, folder by folder, such as ``{"CT-0" = "normal"}``.
    """

    layout: Literal["luna16", "table", "decathlon", "medmnist", "mosmed", "brats2020", "dicom"]
    root: str
    candidates: str | None = None
    manifest: str = "manifest.csv"
    channels: tuple[str, ...] = ("path",)
    labels: str = "labels.csv"
    classes: tuple[str, ...] | None = None
    folders: dict[str, str] | None = None


class SplitSpec(Spec):
    """Shares of the patients for validation and test; splits that the data set brings itself come first.

    With `folds`, each patient is tested once: `voxray run` trains a network for each fold, tests it on the fold's
    patients and takes the share `val` of the others for validation. `fold` (from 0) names one of them.
    """

    val: Share = 0.2
    test: Share = 0.2
    folds: Annotated[int, Field(ge=2)] | None = None
    fold: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _leaves_patients_to_train_on(self) -> "SplitSpec":
        if self.folds is None and self.val + self.test >= 1:
            raise ValueError("val and test together must leave patients to train on")
        if self.fold is not None and (self.folds is None or self.fold >= self.folds):
            raise ValueError(f"fold {self.fold} is none of the folds 0 to {(self.folds or 0) - 1}; set split.folds")
        return self


class PatchesSpec(Spec):
    """Which patches are cut.

    `centre` cuts one around each sample of the data set's list; `whole` puts a whole scan into a patch; `grid` covers a
    scan with as few boxes as it takes, of which the last along an axis overlaps the one before. `random` draws
    `per_scan` boxes from all places of a scan, `foreground` from those places of which more than `min_foreground` is
    labelled. Where no place has so much, those with the most are drawn from: in a scan without foreground all of
    them, unless `keep_empty` is off, which leaves such scans out. This is what drawing at random and again while
    `1 - min_foreground` or more is background comes to, without a limit of tries. With `spacing_mm` scans are
    resampled first.

    `resized` brings a whole scan to the patch's size by linear interpolation, one patch a scan; with an intensity of
    `window` it is clipped before, or metal and what lies outside the field of view would colour their neighbours.
    `slices` takes `per_scan` axial slices of each scan, spread evenly over those that its mask touches (`slices =
    "foreground"`) or neighbours in its middle (`slices = "middle"`).
    """

    size: tuple[Positive, Positive, Positive]
    sampling: Literal["centre", "foreground", "random", "grid", "whole", "resized", "slices"] = "centre"
    per_scan: Positive = 1
    slices: Literal["foreground", "middle"] = "foreground"
    min_foreground: Share = 0.05
    keep_empty: bool = True
    spacing_mm: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = None
    negatives_per_positive: Annotated[float, Field(gt=0)] | Literal["all"] = 5.0
    rotations: tuple[Literal[90, 180, 270], ...] = (90, 180, 270)
    fill: float = -1000

    @field_validator("size", mode="before")
    @classmethod
    def _two_numbers_mean_one_slice(cls, size: Any) -> Any:
        if not isinstance(size, list | tuple):
            return size
        return (*size, 1) if len(size) == 2 else tuple(size)

    @field_validator("rotations")
    @classmethod
    def _each_once(cls, rotations: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(rotations)) < len(rotations):
            raise ValueError("each rotation may be named once")
        return rotations

    @model_validator(mode="after")
    def _fits_the_sampling(self) -> "PatchesSpec":
        if self.per_scan > 1 and self.sampling not in ("foreground", "random", "slices"):
            problem = f"per_scan is for sampling = 'foreground', 'random' or 'slices', got sampling = '{self.sampling}'"
            raise ValueError(f"{problem}; change one of them")
        if self.sampling == "slices" and self.size[2] != 1:
            raise ValueError(f"size: sampling = 'slices' wants patches of one z, got {self.size[2]}; write [x, y]")
        return self

    @property
    def wants_masks(self) -> bool:
        """Whether a scan's mask says where its patches are."""
        return self.sampling == "foreground" or (self.sampling == "slices" and self.slices == "foreground")


class StoreSpec(Spec):
    """Where and how the patches are kept."""

    path: str | None = None
    dtype: Literal["uint8", "int16", "uint16", "float32"] = "int16"
    chunk_bytes: Positive = 2**20
    shard_bytes: Positive = 2**25
    max_quarantined: Annotated[float, Field(ge=0.0, le=1.0)] = 0.05


Window = tuple[float, float]


class IntensitySpec(Spec):
    """How the scan's own numbers become the network's.

    `window` clips to `window`, one for all channels or a list of one for each, and scales it to [0, 1];
    `percentiles` does so with two percentiles of the scan. `planes`, `volume` and `nonzero` give zero mean and unit
    deviation per channel: in each z plane of the patch, over the whole scan, or over the scan's voxels other than 0.
    """

    kind: Literal["window", "percentiles", "planes", "volume", "nonzero"] = "window"
    window: Window | tuple[Window, ...] = (-1000, 400)

    @field_validator("window")
    @classmethod
    def _rises(cls, window: Window | tuple[Window, ...]) -> Window | tuple[Window, ...]:
        if not window or any(low >= high for low, high in _each(window)):
            raise ValueError("the lower end must be below the upper end")
        return window

    @property
    def windows(self) -> tuple[Window, ...]:
        """One window for all channels, or one for each."""
        return _each(self.window)


def _each(window: Window | tuple[Window, ...]) -> tuple[Window, ...]:
    first = window[0]
    return (window,) if isinstance(first, int | float) else window  # type: ignore[return-value]


class AugmentSpec(Spec):
    """Random changes of training batches, on the model's device. Zero or empty means none.

    With 2 `dimensions`, rotation, scaling, shift and elastic changes are those of the x-y plane, alike in all slices.
    With 3 they act in space, which wants voxels about as long in z as in plane. A rotation is by any angle up to
    `rotate_degrees`, or in plane by one of `rotate_angles` (degrees from x towards y); what it brings in from outside
    repeats the border.
    """

    dimensions: Literal[2, 3] = 2
    flip: tuple[Literal["x", "y", "z"], ...] = ()
    quarter_turns: bool = False
    rotate_degrees: Annotated[float, Field(ge=0, le=180)] = 0
    rotate_angles: tuple[Annotated[float, Field(ge=-180, le=180)], ...] = ()
    scale: Annotated[float, Field(ge=0, lt=0.9)] = 0
    shift_voxels: Annotated[float, Field(ge=0)] = 0
    elastic_voxels: Annotated[float, Field(ge=0)] = 0
    brightness: Annotated[float, Field(ge=0)] = 0
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0
    gamma: Annotated[float, Field(ge=0, lt=1)] = 0
    noise: Annotated[float, Field(ge=0)] = 0
    blur_voxels: Annotated[float, Field(ge=0)] = 0


class ModelSpec(Spec):
    """The architecture file."""

    architecture: str


class TrainingSpec(Spec):
    """How the network is fitted. `batch_size` is that of all workers together.

    `workers` may be a pair, the fewest and the most: then as many work as the cluster has room for, and their number
    may change while they do. The batches stay those of the most, which share out the patches whoever works.

    The schedule `exponential` multiplies the rate by `decay` after every `decay_steps` steps; 0 means an epoch's.

    With a `weight_average` a, the network that is validated and kept is not the last one but the running mean
    a × mean + (1 - a) × weights over the steps (Polyak averaging).
    """

    epochs: Positive = 20
    batch_size: Positive = 300
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    l2: Annotated[float, Field(ge=0)] = 1e-3
    schedule: Literal["constant", "cosine", "exponential"] = "constant"
    decay: Annotated[float, Field(gt=0, le=1)] = 0.96
    decay_steps: Annotated[int, Field(ge=0)] = 0
    warmup_epochs: Annotated[float, Field(ge=0)] = 0
    loss: Literal["cross_entropy", "dice", "focal", "dice_cross_entropy", "dice_focal"] = "cross_entropy"
    weight_average: Annotated[float, Field(ge=0, lt=1)] = 0
    class_weights: Literal["none", "balanced"] | tuple[Annotated[float, Field(gt=0)], ...] = "none"
    early_stopping_epochs: Annotated[int, Field(ge=0)] = 0
    best: Literal["loss", "accuracy", "balanced_accuracy", "roc_auc", "average_precision", "dice"] = "loss"
    workers: Positive | tuple[Positive, Positive] = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    buffer_bytes: Positive = 2**28

    @field_validator("workers")
    @classmethod
    def _fewest_first(cls, workers: int | tuple[int, int]) -> int | tuple[int, int]:
        if not isinstance(workers, int) and workers[0] > workers[1]:
            raise ValueError("the fewest come first, then the most")
        return workers

    @property
    def fewest_workers(self) -> int:
        """Without so many there is no training."""
        return self.workers if isinstance(self.workers, int) else self.workers[0]

    @property
    def most_workers(self) -> int:
        """As many as may take part, and lanes of the patches' order."""
        return self.workers if isinstance(self.workers, int) else self.workers[1]


class EvaluationSpec(Spec):
    """How a trained model is judged.

    For classifiers: the recall that the operating point must have on validation, the precision at which each epoch's
    `recall_at_precision` is taken, and what is judged, each patch or each patient by the mean of the probabilities of
    its patches. For segmentation: the sliding window's overlap, and
    the tolerance of surface Dice.
    """

    overlap: Share = 0.5
    tolerance_mm: PositiveFloat = 1.0
    unit: Literal["patch", "patient"] = "patch"
    target_recall: Annotated[float, Field(gt=0, le=1)] = 0.9
    target_precision: Annotated[float, Field(gt=0, le=1)] = 0.74
    bootstrap: Positive = 1000


class TrackingSpec(Spec):
    """W&B. `auto` is online when the user has logged in and offline otherwise; the trials of a search are a group."""

    project: str = "voxray"
    group: str | None = None
    mode: Literal["auto", "online", "offline", "disabled"] = "auto"


class PrivacySpec(Spec):
    """Pseudonyms for patients, scans and paths, where a key is named: by environment variable or by file.

    The key itself is never a setting, because settings are kept with a run.
    """

    key_env: str | None = None
    key_file: str | None = None

    @model_validator(mode="after")
    def _one_key(self) -> "PrivacySpec":
        if self.key_env is not None and self.key_file is not None:
            raise ValueError("key_env and key_file name two keys; keep one of them")
        return self

    @property
    def wanted(self) -> bool:
        """Whether there is a key."""
        return self.key_env is not None or self.key_file is not None

    def read_key(self) -> bytes | None:
        """The key; None where none is wanted, ConfigError where it is not there."""
        if not self.wanted:
            return None
        return read_key(self.key_env, None if self.key_file is None else Path(self.key_file))


class Experiment(Spec):
    """Everything about a run, checked; all paths absolute."""

    name: str
    seed: Annotated[int, Field(ge=0)] = 0
    out: str
    data: DataSpec
    split: SplitSpec = SplitSpec()
    patches: PatchesSpec
    store: StoreSpec = StoreSpec()
    intensity: IntensitySpec = IntensitySpec()
    augment: AugmentSpec = AugmentSpec()
    model: ModelSpec
    training: TrainingSpec = TrainingSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    tracking: TrackingSpec = TrackingSpec()
    privacy: PrivacySpec = PrivacySpec()

    @model_validator(mode="after")
    def _fits_together(self) -> "Experiment":
        fill, dtype = self.patches.fill, np.dtype(self.store.dtype)
        if dtype.kind in "iu" and not np.iinfo(dtype).min <= fill <= np.iinfo(dtype).max:
            raise ValueError(f"patches.fill: {fill:g} is no number of store.dtype '{dtype}'; change one of them")
        x, y, _ = self.patches.size
        if x != y and {90, 270} & set(self.patches.rotations):
            raise ValueError(f"patches.rotations: 90 and 270 want a square patch, got {x}x{y}; use [180] or []")
        if x != y and self.augment.quarter_turns:
            raise ValueError(f"augment.quarter_turns: wants a square patch, got {x}x{y}; use augment.flip")
        if self.augment.rotate_angles and self.augment.rotate_degrees:
            raise ValueError("augment.rotate_angles: has no meaning beside augment.rotate_degrees; give one of them")
        return self

    @property
    def data_path(self) -> Place:
        """The folder of the scans, or file of many images."""
        return place(self.data.root)

    @property
    def out_path(self) -> Place:
        """The run's folder."""
        return place(self.out)

    @property
    def store_path(self) -> Place:
        """The patch store; inside the run's folder unless the experiment names another place."""
        return place(self.store.path) if self.store.path else self.out_path / "store"


def load_experiment(path: Path, settings: Sequence[str] = ()) -> Experiment:
    """Read and check an experiment file.

    Parameters
    ----------
    path : Path
        TOML file.
    settings : sequence of str
        ``key.path=value`` each; the value is TOML, or else a plain string.

    Raises
    ------
    ConfigError
        With every problem that was found, each with its key path.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(str(path), "no such experiment file", "Check the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), f"not a TOML file: {error}", "Correct it there") from None
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}", "Check the path") from None
    _make_paths_absolute(raw, path.resolve().parent, str(path))
    for setting in settings:
        _apply_setting(raw, setting)
    try:
        # As JSON, because there a list may be a tuple and yet no text a number and no flag an integer.
        return Experiment.model_validate_json(json.dumps(raw, default=str), strict=True)
    except ValidationError as error:
        lines = describe_problems(error, Experiment)
        raise ConfigFileError(str(path), "\n  ".join(["the experiment has problems.", *lines])) from None


def read_experiment(path: Place) -> Experiment:
    """Read back the resolved ``experiment.json`` of a run."""
    return Experiment.model_validate(json.loads(read_bytes(path)))


def _apply_setting(raw: dict[str, Any], setting: str) -> None:
    key, separator, text = setting.partition("=")
    if not separator or not key.strip():
        raise ConfigError("--set", f"wants key.path=value, got '{setting}'", "For example --set training.epochs=5")
    try:
        value: Any = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, last = key.strip().split(".")
    if (*parents, last) in PATH_KEYS:
        value = _absolute(str(value), Path.cwd(), f"--set {key}")
    table = raw
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise ConfigError("--set", f"'{parent}' in '{key}' is a value, not a table", "Check the key path")
    table[last] = value


def _make_paths_absolute(raw: dict[str, Any], base: Path, where: str) -> None:
    for *parents, last in PATH_KEYS:
        table: Any = raw
        for parent in parents:
            table = table.get(parent, {}) if isinstance(table, dict) else {}
        if isinstance(table, dict) and isinstance(table.get(last), str):
            table[last] = _absolute(table[last], base, f"{where}: {'.'.join([*parents, last])}")


def _absolute(path: str, base: Path, where: str) -> str:
    def value_of(match: re.Match[str]) -> str:
        name, default = match["name"], match["default"]
        if SECRET_NAME.search(name):
            problem = f"the environment variable {name} is a secret by its name, and settings are kept with a run"
            raise ConfigError(where, problem, "Name a variable that holds a place")
        value = os.environ.get(name, default)
        if value is None:
            raise ConfigError(where, f"the environment variable {name} is not set", "Set it, or write the path")
        return value

    if not path.strip():
        raise ConfigError(where, "is empty", "Write a path")
    filled = re.sub(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\}", value_of, path)
    if is_url(filled):
        return str(place(filled, where))
    return os.path.normpath(base / Path(filled).expanduser())
