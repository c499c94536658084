"""An experiment: one TOML file that says everything about a run."""

from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from voxray.config.data import DataSpec, PatchesSpec, PrivacySpec, SplitSpec, StoreSpec
from voxray.config.preprocessing import AugmentSpec, IntensitySpec
from voxray.config.training import EvaluationSpec, ModelSpec, TrackingSpec, TrainingSpec
from voxray.config.validation import Spec
from voxray.storage.paths import Place, place


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
