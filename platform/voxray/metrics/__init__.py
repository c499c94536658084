"""Metrics of classification and segmentation, described once in `voxray.metrics.registry`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voxray.metrics.masks import dice, hd95_mm, surface_dice

__all__ = ["dice", "hd95_mm", "surface_dice"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'voxray.metrics' has no attribute '{name}'")
    return getattr(import_module("voxray.metrics.masks"), name)
