"""Batches of a store as tensors by name, as a run normalizes them or in the scans' own numbers."""

from dataclasses import dataclass

import torch

from voxray.config.experiment import Experiment
from voxray.loader.augment import rotate_stored
from voxray.loader.loader import Batch
from voxray.training.fit import make_preprocessing


@dataclass(frozen=True)
class NormalizeBatch:
    """Normalizes as the training of an experiment does, without augmentation."""

    experiment: Experiment
    patch_shape: tuple[int, int, int, int]

    def __call__(self, batch: Batch) -> dict[str, torch.Tensor]:
        """``image``, and ``label`` or ``mask`` and ``valid``."""
        spatial_dims = 2 if self.patch_shape[-1] == 1 else 3
        inputs = make_preprocessing(self.experiment, spatial_dims, torch.device("cpu")).inputs(batch, None)
        if inputs.valid is None:
            return {"image": inputs.images, "label": inputs.labels}
        return {"image": inputs.images, "mask": inputs.labels, "valid": inputs.valid}


def raw_batch(batch: Batch) -> dict[str, torch.Tensor]:
    """``image`` (n, channel, x, y, z) and ``label``, or ``mask`` (n, x, y, z), as the store has them."""
    image = rotate_stored(batch.images.clone(), batch.rotations)
    if batch.masks is None:
        return {"image": image, "label": batch.labels}
    return {"image": image, "mask": rotate_stored(batch.masks.unsqueeze(1).clone(), batch.rotations)[:, 0]}
