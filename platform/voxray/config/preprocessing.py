"""Settings of intensity normalization and augmentation."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from voxray.config.validation import Spec

Window = tuple[float, float]


class IntensitySpec(Spec):
    """How the scan's own numbers become the network's.

    `window` clips to `window`, one for all channels or a list of one for each, and scales it to [0, 1]; `percentiles`
    does so with two percentiles of the scan. `zscore_slice`, `zscore` and `zscore_nonzero` give each channel zero mean
    and unit standard deviation: in each z plane of the patch, over the whole scan, or over the scan's nonzero voxels.
    """

    kind: Literal["window", "percentiles", "zscore_slice", "zscore", "zscore_nonzero"] = "window"
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
    `rotate_range`, or in plane by one of `rotate_choices` (degrees from x towards y); what it brings in from outside
    repeats the border.
    """

    dimensions: Literal[2, 3] = 2
    flip: tuple[Literal["x", "y", "z"], ...] = ()
    rotate90: bool = False
    rotate_range: Annotated[float, Field(ge=0, le=180)] = 0
    rotate_choices: tuple[Annotated[float, Field(ge=-180, le=180)], ...] = ()
    scale: Annotated[float, Field(ge=0, lt=0.9)] = 0
    shift_voxels: Annotated[float, Field(ge=0)] = 0
    elastic_voxels: Annotated[float, Field(ge=0)] = 0
    brightness: Annotated[float, Field(ge=0)] = 0
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0
    gamma: Annotated[float, Field(ge=0, lt=1)] = 0
    noise: Annotated[float, Field(ge=0)] = 0
    blur_voxels: Annotated[float, Field(ge=0)] = 0
