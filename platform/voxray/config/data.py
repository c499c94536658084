"""Settings of the data: where the scans are, how they are split, which patches are cut and how they are stored."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ByteSize, Field, PositiveFloat, field_validator, model_validator

from voxray.config.validation import Spec
from voxray.privacy import key_digest, read_key

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[int, Field(ge=1)]
SPACING_RANGE_MM = (0.01, 50.0)
Size = Annotated[ByteSize, Field(ge=1)]
SUBSETS = 10  # of luna16
Subset = Annotated[int, Field(ge=0, lt=SUBSETS)]
Folds = Annotated[int, Field(ge=2, le=1000)] | Literal["subsets"] | Annotated[tuple[Subset, ...], Field(min_length=2)]
Ratio = Annotated[float, Field(gt=0)] | Literal["all"]
LabelValue = Annotated[int, Field(ge=0, lt=2**16)]
Region = Annotated[tuple[Annotated[int, Field(ge=1, lt=2**16)], ...], Field(min_length=1)]
MOST_CHUNK_BYTES = 2**31  # Blosc compresses less at a time


def three_numbers(size: Any) -> Any:
    """A size along x, y, z of ``[x, y]``, a single slice; other values as they are."""
    if not isinstance(size, list | tuple):
        return size
    return (*size, 1) if len(size) == 2 else tuple(size)


class DataSpec(Spec):
    """The data set: a folder, or a file of many images, in one of the layouts of ``docs/layouts.md``."""

    also_called: ClassVar = {"path": "root", "folder": "root", "dir": "root", "format": "layout", "type": "layout"}

    layout: str
    """Name of the layout."""
    root: str
    """Folder or file; a path relative to the experiment's file, or a URL."""
    candidates: str | None = None
    """luna16: file name of the list of candidates; by default ``candidates_V2.csv``, or else ``candidates.csv``."""
    masks: Literal["annotations"] | None = None
    """luna16: ``"annotations"`` makes the run a segmentation, whose masks are the spheres of ``annotations.csv``."""
    manifest: str = "manifest.csv"
    """table: file name of the list of images in `root`; or a path, absolute or, as ``./list.csv``, relative to the
    experiment's file."""
    channels: tuple[str, ...] = ("path",)
    """table: the columns that name the files of a scan's channels."""
    mask_columns: Annotated[tuple[str, ...], Field(min_length=1)] = ("mask",)
    """table: the column that names the mask of a scan; or, for masks with one file for each class, the columns of the
    classes 1, 2, …, where an empty cell is a class that the scan does not have. Later classes are read over earlier
    ones."""
    picture_window: tuple[float, float] | None = None
    """table: intensities of the scans that became the darkest and the brightest gray (0 and 255) of 8-bit pictures,
    such as ``[-1000, 400]`` HU; with it a run trained on such pictures finds their like in whole scans."""
    labels: str = "labels.csv"
    """dicom: file name of the list of labels."""
    classes: tuple[str, ...] | None = None
    """table, dicom, medmnist: names of the classes in the order of their labels, or of the values of masks."""
    label_values: Annotated[tuple[LabelValue, ...], Field(min_length=2)] | None = None
    """The value in masks of each class, background first, such as ``[0, 255]``; by default 0, 1, …"""
    ignore_label: LabelValue | None = None
    """The value in masks of voxels that are not labeled, such as 255: they count neither in training nor in
    evaluation."""
    regions: Annotated[dict[str, Region], Field(min_length=1)] | None = None
    """Classes that are unions of values of masks, such as ``{ whole = [1, 2, 3], core = [2, 3] }``, with a network
    whose output is a sigmoid. In label maps of a prediction later regions are written over earlier ones."""
    folders: dict[str, str] | None = None
    """mosmed: class of each folder, such as ``{"CT-0" = "normal"}``, in the order of the classes."""

    @model_validator(mode="after")
    def _labels_fit_together(self) -> "DataSpec":
        values = self.label_values or ()
        if len(set(values)) < len(values):
            raise ValueError(f"label_values: each value may be that of one class, got {list(values)}")
        if self.regions is not None and values:
            raise ValueError("label_values: regions name the values of masks themselves; remove one of them")
        if len(self.mask_columns) > 1 and (values or self.ignore_label is not None or self.regions is not None):
            raise ValueError("mask_columns: a file for each class has no values to name; give one column, or no values")
        if any(self.ignore_label in members for members in (self.regions or {}).values()):
            raise ValueError(f"ignore_label: is a value of a region too, got {self.ignore_label}; remove one of them")
        return self


class SplitSpec(Spec):
    """How patients are split, where the data set does not bring its own splits.

    With `folds`, each patient is tested once: `voxray run` trains a network for each fold, tests it on the patients of
    the fold and takes the share `val` of the others for validation.
    """

    also_called: ClassVar = {"val_size": "val", "validation": "val", "test_size": "test", "n_splits": "folds"}

    val: Share = 0.2
    """Share of the patients for validation."""
    test: Share = 0.2
    """Share of the patients for the test."""
    folds: Folds | None = None
    """Number of folds of a cross-validation. luna16: or `"subsets"`, the folders ``subset0`` … ``subset9`` that are
    there, or the numbers of some of them, such as ``[0, 1]``; the others only train."""
    fold: Annotated[int, Field(ge=0)] | None = None
    """Run this fold only, counted from 0; of subsets, that of the folder with this number."""

    @field_validator("folds")
    @classmethod
    def _each_once(cls, folds: Folds | None) -> Folds | None:
        if not isinstance(folds, tuple):
            return folds
        if len(set(folds)) < len(folds):
            raise ValueError("each subset may be named once")
        return tuple(sorted(folds))

    @model_validator(mode="after")
    def _leaves_patients_to_train_on(self) -> "SplitSpec":
        if self.folds is None and self.val + self.test >= 1:
            raise ValueError("val: val and test together must leave patients to train on")
        self._check_fold()
        return self

    def _check_fold(self) -> None:
        if self.fold is None:
            return
        if self.folds is None or (isinstance(self.folds, int) and self.fold >= self.folds):
            raise ValueError(f"fold: expected a fold below split.folds = {self.folds}, got {self.fold}")
        if not isinstance(self.folds, int) and self.fold >= SUBSETS:
            raise ValueError(f"fold: expected the number of a subset, 0 to {SUBSETS - 1}, got {self.fold}")

    @property
    def by_subset(self) -> bool:
        """Whether the folds are folders of the data set."""
        return self.folds is not None and not isinstance(self.folds, int)

    @property
    def is_cross_validation(self) -> bool:
        """Whether there are folds, and all of them are meant."""
        return self.folds is not None and self.fold is None

    @property
    def fold_numbers(self) -> tuple[int, ...]:
        """The numbers of all folds; empty without folds, and where they depend on the subsets that are there."""
        if self.folds is None or self.folds == "subsets":
            return ()
        return tuple(range(self.folds)) if isinstance(self.folds, int) else self.folds


class NegativesSpec(Spec):
    """Negative samples kept for each positive one, by split."""

    also_called: ClassVar = {"training": "train", "validation": "val"}

    train: Ratio = 5.0
    """Of the training split; `"all"` keeps every sample."""
    val: Ratio = "all"
    """Of the validation split, which has the prevalence of the data set's list if all are kept."""
    test: Ratio = "all"
    """Of the test split."""


class PatchesSpec(Spec):
    """Which patches are cut from a scan, by `sampling`.

    - `center`: one around each sample of the data set's list.
    - `whole`: the whole scan, padded to `size`.
    - `resized`: the whole scan, brought to `size` by linear interpolation. With an intensity of `window` it is clipped
      before, because metal and the outside of the field of view would color their neighbors.
    - `grid`: as few boxes as cover the scan; the last box along an axis overlaps the one before.
    - `random`: `patches_per_scan` boxes anywhere in the scan.
    - `foreground`: `patches_per_scan` boxes of which more than `min_foreground` is labeled; if there is none, boxes
      with the most. This equals drawing at random until fewer than `1 - min_foreground` of the voxels are background,
      without a limit of tries.
    - `slices`: `patches_per_scan` axial slices, chosen by `slices`.
    """

    also_called: ClassVar = {
        "patch_size": "size",
        "roi_size": "size",
        "per_scan": "patches_per_scan",
        "samples_per_volume": "patches_per_scan",
        "num_samples": "patches_per_scan",
        "fill": "pad_value",
        "fill_value": "pad_value",
        "cval": "pad_value",
        "rotations": "oversample_rotations",
    }

    size: tuple[Positive, Positive, Positive]
    """Voxels along x, y, z; ``[x, y]`` is a single slice."""
    sampling: Literal["center", "foreground", "random", "grid", "whole", "resized", "slices"] = "center"
    """How patches are chosen."""
    patches_per_scan: Annotated[int, Field(ge=1, le=100_000)] = 1
    """Patches of each scan, for `foreground`, `random` and `slices`."""
    slices: Literal["foreground", "middle"] = "foreground"
    """For `slices`: spread evenly over the slices that the mask touches, or neighbors in the middle of the scan."""
    min_foreground: Share = 0.05
    """For `foreground`: the share of labeled voxels that a patch exceeds."""
    keep_empty: bool = True
    """For `foreground`: whether scans without foreground are used; their patches are drawn at random."""
    spacing_mm: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = None
    """Resample scans to this spacing along x, y, z before patches are cut."""
    spacing_range_mm: tuple[PositiveFloat, PositiveFloat] = SPACING_RANGE_MM
    """Lowest and highest plausible distance of voxels; scans with others have a wrong header and are quarantined."""
    negatives_per_positive: NegativesSpec = NegativesSpec()
    """Negative samples kept for each positive one in training, or ``"all"``, or a table by split such as
    ``{ train = 5, val = "all", test = "all" }``. Where a split loses negatives, evaluation also gives its metrics
    re-weighted to the list's own mix of classes."""
    oversample_rotations: tuple[Literal[90, 180, 270], ...] = (90, 180, 270)
    """Additional rotated copies of each positive training patch, by degrees in the x-y plane."""
    pad_value: float = -1000
    """Value of voxels outside the scan."""

    @field_validator("size", mode="before")
    @classmethod
    def _two_numbers_mean_one_slice(cls, size: Any) -> Any:
        return three_numbers(size)

    @field_validator("negatives_per_positive", mode="before", json_schema_input_type=Ratio | NegativesSpec)
    @classmethod
    def _one_ratio_is_that_of_training(cls, ratio: Any) -> Any:
        return ratio if isinstance(ratio, Mapping | NegativesSpec) else {"train": ratio}

    @field_validator("spacing_range_mm")
    @classmethod
    def _ascending(cls, limits: tuple[float, float]) -> tuple[float, float]:
        if limits[0] > limits[1]:
            raise ValueError(f"expected the lower limit first, got {list(limits)}")
        return limits

    @field_validator("oversample_rotations")
    @classmethod
    def _unique(cls, rotations: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(rotations)) < len(rotations):
            raise ValueError("each rotation may be named once")
        return rotations

    @model_validator(mode="after")
    def _fits_the_sampling(self) -> "PatchesSpec":
        if self.patches_per_scan > 1 and self.sampling not in ("foreground", "random", "slices"):
            problem = "patches_per_scan: more than 1 needs sampling = 'foreground', 'random' or 'slices'"
            raise ValueError(f"{problem}, got '{self.sampling}'; change one of them")
        if self.sampling == "slices" and self.size[2] != 1:
            raise ValueError(f"size: sampling = 'slices' needs patches of one slice, got {self.size[2]}; write [x, y]")
        return self

    @property
    def needs_masks(self) -> bool:
        """Whether patches are chosen by the scan's mask."""
        return self.sampling == "foreground" or (self.sampling == "slices" and self.slices == "foreground")


class StoreSpec(Spec):
    """The patch store."""

    also_called: ClassVar = {"chunk_size": "chunk_bytes", "shard_size": "shard_bytes"}

    path: str | None = None
    """Folder or URL; by default ``store`` in the run's folder."""
    dtype: Literal["uint8", "int16", "uint16", "float32"] = "int16"
    """Type of the stored voxels."""
    chunk_bytes: Annotated[ByteSize, Field(ge=1, lt=MOST_CHUNK_BYTES)] = ByteSize(2**20)
    """Bytes of an uncompressed chunk, such as ``"1MiB"``: the smallest piece that is read."""
    shard_bytes: Annotated[ByteSize, Field(ge=1, le=2**36)] = ByteSize(2**25)
    """Bytes of an uncompressed shard: a file or object of many chunks, written by one task."""
    max_quarantined: Annotated[float, Field(ge=0.0, le=1.0)] = 0.05
    """Largest share of the samples that may be lost with quarantined scans; above it ingest fails."""


class PrivacySpec(Spec):
    """Pseudonyms for patients, scans and paths, if a key is given by environment variable or by file.

    The key itself is never a setting, because settings are kept with a run.
    """

    key_env: str | None = None
    """Environment variable that holds the key."""
    key_file: str | None = None
    """File that holds the key."""

    @model_validator(mode="after")
    def _one_key(self) -> "PrivacySpec":
        if self.key_env is not None and self.key_file is not None:
            raise ValueError("key_file: key_env and key_file name two keys; keep one of them")
        return self

    @property
    def has_key(self) -> bool:
        """Whether the experiment names a key."""
        return self.key_env is not None or self.key_file is not None

    def read_key(self) -> bytes | None:
        """The key; None if the experiment names none. ConfigError if it is missing or too short."""
        if not self.has_key:
            return None
        return read_key(self.key_env, None if self.key_file is None else Path(self.key_file))

    def key_digest(self) -> str | None:
        """A name for the key, see `voxray.privacy.key_digest`; with the errors of `read_key`."""
        key = self.read_key()
        return None if key is None else key_digest(key)
