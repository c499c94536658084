"""Settings of the data: where the scans are, how they are split, which patches are cut and how they are stored."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, field_validator, model_validator

from voxray.config.validation import Spec
from voxray.privacy import read_key

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[int, Field(ge=1)]


class DataSpec(Spec):
    """Which folder, in which layout.

    `channels` are the columns of a table's manifest that name the files of a scan's channels.
    `folders` names the classes of a MosMedData set, folder by folder, such as ``{"CT-0" = "normal"}``.
    """

    layout: str
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

    `center` cuts one around each sample of the data set's list; `whole` puts a whole scan into a patch; `grid` covers a
    scan with as few boxes as possible; the last box along an axis overlaps the one before. `random` draws
    `patches_per_scan` boxes anywhere in a scan, `foreground` draws them where more than `min_foreground` of the voxels
    are labeled. Where no box has that much, it draws from those with the most: in a scan without foreground from all
    of them, unless `keep_empty` is off, which leaves such scans out. This equals drawing at random until fewer than
    `1 - min_foreground` of the voxels are background, without a limit of tries. With `spacing_mm` scans are resampled
    first.

    `resized` brings a whole scan to the patch's size by linear interpolation, one patch a scan; with an intensity of
    `window` it is clipped before, or metal and what lies outside the field of view would color their neighbors.
    `slices` takes `patches_per_scan` axial slices of each scan, spread evenly over those that its mask touches
    (`slices = "foreground"`) or neighbors in its middle (`slices = "middle"`).
    """

    size: tuple[Positive, Positive, Positive]
    sampling: Literal["center", "foreground", "random", "grid", "whole", "resized", "slices"] = "center"
    patches_per_scan: Positive = 1
    slices: Literal["foreground", "middle"] = "foreground"
    min_foreground: Share = 0.05
    keep_empty: bool = True
    spacing_mm: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = None
    negatives_per_positive: Annotated[float, Field(gt=0)] | Literal["all"] = 5.0
    oversample_rotations: tuple[Literal[90, 180, 270], ...] = (90, 180, 270)
    pad_value: float = -1000

    @field_validator("size", mode="before")
    @classmethod
    def _two_numbers_mean_one_slice(cls, size: Any) -> Any:
        if not isinstance(size, list | tuple):
            return size
        return (*size, 1) if len(size) == 2 else tuple(size)

    @field_validator("oversample_rotations")
    @classmethod
    def _each_once(cls, rotations: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(rotations)) < len(rotations):
            raise ValueError("each rotation may be named once")
        return rotations

    @model_validator(mode="after")
    def _fits_the_sampling(self) -> "PatchesSpec":
        if self.patches_per_scan > 1 and self.sampling not in ("foreground", "random", "slices"):
            problem = f"per_scan is for sampling = 'foreground', 'random' or 'slices', got sampling = '{self.sampling}'"
            raise ValueError(f"{problem}; change one of them")
        if self.sampling == "slices" and self.size[2] != 1:
            raise ValueError(f"size: sampling = 'slices' wants patches of one z, got {self.size[2]}; write [x, y]")
        return self

    @property
    def needs_masks(self) -> bool:
        """Whether a scan's mask says where its patches are."""
        return self.sampling == "foreground" or (self.sampling == "slices" and self.slices == "foreground")


class StoreSpec(Spec):
    """Where and how the patches are kept."""

    path: str | None = None
    dtype: Literal["uint8", "int16", "uint16", "float32"] = "int16"
    chunk_bytes: Positive = 2**20
    shard_bytes: Positive = 2**25
    max_quarantined: Annotated[float, Field(ge=0.0, le=1.0)] = 0.05


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
