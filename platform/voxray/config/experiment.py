"""An experiment: one TOML file with all settings of a run."""

import math
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field, model_validator

from voxray.config.data import MOST_CHUNK_BYTES, DataSpec, PatchesSpec, PrivacySpec, SplitSpec, StoreSpec
from voxray.config.detection import DetectionSpec
from voxray.config.preprocessing import AugmentSpec, IntensitySpec
from voxray.config.training import EvaluationSpec, ModelSpec, TrackingSpec, TrainingSpec
from voxray.config.validation import Spec
from voxray.storage.paths import AnyPath, to_path


class Experiment(Spec):
    """All settings of a run, checked; all paths are absolute."""

    also_called: ClassVar = {"random_state": "seed", "output": "out", "dataset": "data", "architecture": "model"}

    name: str
    """Name of the run, for its report and W&B."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of all random choices."""
    out: str
    """Folder of the run; a path relative to the experiment's file, or a URL."""
    data: DataSpec
    split: SplitSpec = SplitSpec()
    patches: PatchesSpec
    store: StoreSpec = StoreSpec()
    intensity: IntensitySpec = IntensitySpec()
    augment: AugmentSpec = AugmentSpec()
    model: ModelSpec
    training: TrainingSpec = TrainingSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    detection: DetectionSpec = DetectionSpec()
    tracking: TrackingSpec = TrackingSpec()
    privacy: PrivacySpec = PrivacySpec()

    @model_validator(mode="after")
    def _fits_together(self) -> "Experiment":
        value, dtype = self.patches.pad_value, self.store.dtype
        if dtype != "float32" and not np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:
            raise ValueError(f"patches.pad_value: {value:g} does not fit store.dtype '{dtype}'; change one of them")
        if math.prod(self.patches.size) * np.dtype(dtype).itemsize >= MOST_CHUNK_BYTES:
            problem = f"a patch has fewer than 2 GiB, got {_by(self.patches.size)} voxels of {dtype}"
            raise ValueError(f"patches.size: {problem}; make it smaller")
        self._check_crop()
        x, y, _ = self.input_size
        if x != y and {90, 270} & set(self.patches.oversample_rotations):
            problem = f"90 and 270 need a square patch, got {x}x{y}"
            raise ValueError(f"patches.oversample_rotations: {problem}; use [180] or []")
        if x != y and self.augment.rotate90:
            raise ValueError(f"augment.rotate90: needs a square patch or crop, got {x}x{y}; use augment.flip")
        if self.augment.rotate_choices and self.augment.rotate_range:
            raise ValueError("augment.rotate_choices: has no effect beside augment.rotate_range; give one of them")
        return self

    def _check_crop(self) -> None:
        size = self.patches.size
        if any(length > whole for length, whole in zip(self.input_size, size, strict=True)):
            problem = f"larger than patches.size {_by(size)}, got {_by(self.input_size)}"
            raise ValueError(f"augment.crop: {problem}; make the patches larger or the crops smaller")

    @property
    def input_size(self) -> tuple[int, int, int]:
        """Voxels of the network's input along x, y, z: those of a crop where patches are cropped, else of a patch."""
        return self.augment.crop or self.patches.size

    @property
    def data_path(self) -> AnyPath:
        """Folder of the scans, or file of many images."""
        return to_path(self.data.root)

    @property
    def out_path(self) -> AnyPath:
        """Folder of the run."""
        return to_path(self.out)

    @property
    def store_path(self) -> AnyPath:
        """The patch store; by default inside the run's folder."""
        return to_path(self.store.path) if self.store.path else self.out_path / "store"


def _by(size: tuple[int, int, int]) -> str:
    """``32 x 48 x 32``."""
    return " x ".join(map(str, size))
