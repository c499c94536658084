"""Settings of intensity normalization and augmentation."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from voxray.config.data import Positive, three_numbers
from voxray.config.validation import Spec

Window = tuple[float, float]
NonNegative = Annotated[float, Field(ge=0)]
Probability = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]


class IntensitySpec(Spec):
    """How the scan's own numbers are normalized for the network.

    - `window`: clipped to `window` and scaled to [0, 1].
    - `percentiles`: the same with two percentiles of the scan.
    - `zscore_slice`, `zscore`, `zscore_nonzero`: zero mean and unit standard deviation of each channel, in each z plane
      of the patch, over the whole scan, or over the scan's nonzero voxels.
    """

    kind: Literal["window", "percentiles", "zscore_slice", "zscore", "zscore_nonzero"] = "window"
    """Kind of normalization."""
    window: Window | tuple[Window, ...] = (-1000, 400)
    """Lower and upper end, one window for all channels or a list of one for each."""

    @field_validator("window")
    @classmethod
    def _rises(cls, window: Window | tuple[Window, ...]) -> Window | tuple[Window, ...]:
        if not window or any(low >= high for low, high in _windows(window)):
            raise ValueError("the lower end must be below the upper end")
        return window

    @property
    def windows(self) -> tuple[Window, ...]:
        """One window for all channels, or one for each."""
        return _windows(self.window)


def _windows(window: Window | tuple[Window, ...]) -> tuple[Window, ...]:
    return (window,) if isinstance(window[0], int | float) else window


class AugmentSpec(Spec):
    """Random changes of training batches, on the model's device. Zero or empty means none.

    With 2 `dimensions`, rotation, scaling, shift and elastic changes are those of the x-y plane, the same in all
    slices. With 3 they act in space, which needs voxels about as long in z as in plane. Voxels from outside the patch
    repeat its border.

    With `crop` the network gets a part of each patch, another one in every epoch, which is copied where the patch is
    decoded. Validation covers each patch with crops, and windows of whole scans have the size of a crop.
    """

    also_called: ClassVar = {
        "quarter_turns": "rotate90",
        "rot90": "rotate90",
        "rotate_degrees": "rotate_range",
        "degrees": "rotate_range",
        "rotation": "rotate_range",
        "rotate_angles": "rotate_choices",
        "zoom": "scale",
        "translate": "shift_voxels",
        "random_crop": "crop",
        "roi_size": "crop",
        "oversample_foreground_percent": "foreground_share",
    }

    crop: tuple[Positive, Positive, Positive] | None = None
    """Segmentation: voxels along x, y, z of the network's input, a part of a patch at a random place; by default the
    whole patch. ``[x, y]`` is a single slice."""
    crops_per_patch: Annotated[int, Field(ge=1, le=10_000)] = 1
    """With `crop`: crops of each training patch in an epoch, which decodes it once."""
    foreground_share: Annotated[float, Field(ge=0, le=1)] = 0.33
    """With `crop`: share of the crops that are centered on a voxel of a random foreground class of their patch."""
    dimensions: Literal[2, 3] = 2
    """Whether geometric changes act in the plane or in space."""
    flip: tuple[Literal["x", "y", "z"], ...] = ()
    """Axes that are flipped with probability 1/2."""
    rotate90: bool = False
    """Rotate by a random multiple of 90 degrees in plane."""
    rotate_range: Annotated[float, Field(ge=0, le=180)] = 0
    """Rotate by any angle up to this many degrees."""
    rotate_choices: tuple[Annotated[float, Field(ge=-180, le=180)], ...] = ()
    """Rotate in plane by one of these angles, in degrees from x towards y."""
    scale: Annotated[float, Field(ge=0, lt=0.9)] = 0
    """Scale by a factor within 1 ± this."""
    shift_voxels: NonNegative = 0
    """Shift along each axis by up to this many voxels."""
    elastic_voxels: NonNegative = 0
    """Largest displacement of an elastic deformation, in voxels."""
    brightness: NonNegative = 0
    """Add up to this much to normalized intensities, or subtract it."""
    contrast: BelowOne = 0
    """Multiply normalized intensities by a factor within 1 ± this."""
    gamma: BelowOne = 0
    """Largest change of the exponent of intensities."""
    gamma_inverted: Probability = 0
    """Probability that `gamma` acts on the inverted intensities of a patch."""
    noise: NonNegative = 0
    """Largest standard deviation of added Gaussian noise."""
    blur_voxels: NonNegative = 0
    """Largest standard deviation of a Gaussian blur, in voxels."""
    low_resolution: Probability = 0
    """Probability that a patch is reduced by a factor between 1 and 2 along each axis, and enlarged again."""

    @field_validator("crop", mode="before")
    @classmethod
    def _two_numbers_mean_one_slice(cls, size: Any) -> Any:
        return three_numbers(size)

    @property
    def changes_voxels(self) -> bool:
        """Whether batches are changed at random, whether or not their patches are cropped."""
        cropping = {"crop", "crops_per_patch", "foreground_share"}
        return self.model_dump(exclude=cropping) != AugmentSpec().model_dump(exclude=cropping)
