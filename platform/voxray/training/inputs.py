"""Batches as they leave the loader to the input of the network."""

from dataclasses import dataclass

import torch

from voxray.config.labels import IGNORED
from voxray.config.preprocessing import AugmentSpec, IntensitySpec
from voxray.loader.augment import change_batch, draw_changes, rotate_stored
from voxray.loader.loader import Batch
from voxray.loader.normalize import scale_images, valid_voxels

BOUNDED = ("window", "percentiles")  # kinds of normalization to [0, 1]


@dataclass(frozen=True, eq=False)
class Inputs:
    """Input of the network and its labels, on the device.

    Attributes
    ----------
    images : Tensor of float32, (n, channel, x, y[, z])
    labels : Tensor of int64
        (n,) classes of patches, or (n, x, y[, z]) numbers of the values of masks, 0 where they are not valid.
    valid : Tensor of bool, (n, 1, x, y[, z]), optional
        False where a patch is padding or not labeled; only with classes of voxels.
    count : int
        Patches that count: n, or 0 if this rank has none left and only takes part in the step.
    """

    images: torch.Tensor
    labels: torch.Tensor
    valid: torch.Tensor | None
    count: int


@dataclass(frozen=True)
class Preprocessing:
    """Turns a batch into the input of the network.

    Attributes
    ----------
    intensity : IntensitySpec
    augment : AugmentSpec
    spatial_dims : int
        2 drops the single z of a patch, 3 keeps it.
    seed : int
    device : torch.device
    precision : str
        ``auto``, ``float32`` or ``bfloat16``.
    """

    intensity: IntensitySpec
    augment: AugmentSpec
    spatial_dims: int
    seed: int
    device: torch.device
    precision: str = "auto"

    def inputs(self, batch: Batch, epoch: int | None) -> Inputs:
        """Normalize, apply stored rotations and, while training (`epoch` is given), augment."""
        raw = batch.images.to(self.device, non_blocking=True)
        if not len(raw):
            return self._placeholder(raw, batch.masks is not None)
        inside = valid_voxels(batch.inside.to(self.device), raw.shape[2:]) if batch.masks is not None else None
        images = rotate_stored(scale_images(raw, self.intensity, batch.statistics, inside), batch.rotations)
        maps = None
        if batch.masks is not None and inside is not None:
            masks = batch.masks.to(self.device, non_blocking=True).unsqueeze(1)
            # The mask and its valid voxels are rotated together.
            maps = rotate_stored(torch.cat([masks, inside.to(masks.dtype)], 1), batch.rotations)
        if epoch is not None and self.augment.changes_voxels:
            x, y, z = images.shape[2:]
            key = (self.seed, epoch, batch.step)
            changes = draw_changes(self.augment, key, batch.total, batch.positions, (x, y, z))
            images, maps = change_batch(images, maps, changes, self.intensity.kind in BOUNDED)
        if maps is None:
            return Inputs(self._input_layout(images), batch.labels.to(self.device), None, len(batch.rows))
        labels, valid = self._drop_z(maps[:, 0]).long(), self._drop_z(maps[:, 1:]).bool()
        valid &= labels.unsqueeze(1) != IGNORED
        labels = labels.where(valid[:, 0], 0)
        return Inputs(self._input_layout(images), labels, valid, len(batch.rows))

    def _placeholder(self, raw: torch.Tensor, masks: bool) -> Inputs:
        """One patch without weight, for a rank with no patches left: it still takes part in the step."""
        images = self._input_layout(raw.new_zeros((1, *raw.shape[1:]), dtype=torch.float32))
        if not masks:
            return Inputs(images, torch.zeros(1, dtype=torch.int64, device=self.device), None, 0)
        shape = (1, *images.shape[2:])
        labels = torch.zeros(shape, dtype=torch.int64, device=self.device)
        return Inputs(images, labels, torch.zeros((1, *shape), dtype=torch.bool, device=self.device), 0)

    def _drop_z(self, maps: torch.Tensor) -> torch.Tensor:
        return maps if self.spatial_dims == 3 else maps[..., 0]

    def _input_layout(self, images: torch.Tensor) -> torch.Tensor:
        return self._drop_z(images).contiguous(memory_format=self.layout)

    def autocast(self) -> torch.autocast:
        """Context in which the network computes in bfloat16, if it does."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.half)

    @property
    def half(self) -> bool:
        """Whether the network computes in bfloat16; ``auto`` does on a GPU."""
        return self.device.type == "cuda" if self.precision == "auto" else self.precision == "bfloat16"

    @property
    def layout(self) -> torch.memory_format:
        """Channels last, which is faster, except for bfloat16 on a CPU: there it costs what bfloat16 gains."""
        if self.half and self.device.type == "cpu":
            return torch.contiguous_format
        return torch.channels_last_3d if self.spatial_dims == 3 else torch.channels_last
