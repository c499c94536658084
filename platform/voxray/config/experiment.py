"""An experiment: one TOML file that says everything about a run."""

from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from voxray.config.data import DataSpec, PatchesSpec, PrivacySpec, SplitSpec, StoreSpec
from voxray.config.preprocessing import AugmentSpec, IntensitySpec
from voxray.config.training import EvaluationSpec, ModelSpec, TrackingSpec, TrainingSpec
from voxray.config.validation import Spec
from voxray.storage.paths import AnyPath, to_path


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
        fill, dtype = self.patches.pad_value, np.dtype(self.store.dtype)
        if dtype.kind in "iu" and not np.iinfo(dtype).min <= fill <= np.iinfo(dtype).max:
            raise ValueError(f"patches.pad_value: {fill:g} is no number of store.dtype '{dtype}'; change one of them")
        x, y, _ = self.patches.size
        if x != y and {90, 270} & set(self.patches.oversample_rotations):
            raise ValueError(
                f"patches.oversample_rotations: 90 and 270 want a square patch, got {x}x{y}; use [180] or []"
            )
        if x != y and self.augment.rotate90:
            raise ValueError(f"augment.rotate90: wants a square patch, got {x}x{y}; use augment.flip")
        if self.augment.rotate_choices and self.augment.rotate_range:
            raise ValueError("augment.rotate_choices: has no meaning beside augment.rotate_range; give one of them")
        return self

    @property
    def data_path(self) -> AnyPath:
        """The folder of the scans, or file of many images."""
        return to_path(self.data.root)

    @property
    def out_path(self) -> AnyPath:
        """The run's folder."""
        return to_path(self.out)

    @property
    def store_path(self) -> AnyPath:
        """The patch store; inside the run's folder unless the experiment names another place."""
        return to_path(self.store.path) if self.store.path else self.out_path / "store"
