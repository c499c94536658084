"""The header of a NIfTI file: its voxels, and where they lie by sform and qform.

Format: https://nifti.nimh.nih.gov/nifti-1 and https://nifti.nimh.nih.gov/nifti-2.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import nibabel
import numpy as np
from nibabel.nifti1 import data_type_codes
from nibabel.quaternions import quat2mat
from numpy.typing import NDArray

from voxray.errors import ScanError
from voxray.scans.formats.base import check_dtype
from voxray.scans.geometry import corners_apart_mm

HEADERS: dict[int, Any] = {348: nibabel.Nifti1Header, 540: nibabel.Nifti2Header}  # by their size in bytes
HEADER_BYTES = max(HEADERS)
MAGICS = (b"n+1", b"ni1", b"n+2", b"ni2")
EXTENSION_FLAG_BYTES = 4  # after the header of a single file
MILLIMETERS = {1: 1000.0, 3: 0.001}  # of a unit: meters and micrometers; unknown ones are millimeters
SPATIAL_UNIT = 7  # the bits of xyzt_units
LONGEST_QUATERNION = 1.01  # rounding is normalized, nonsense is not
SAME_PLACE_VOXELS = 0.1
CORRECT = "Correct the header, or write the scan again"
# What says where the voxels lie.
PLACE_FIELDS = (
    *("sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "xyzt_units"),
    *(f"{kind}_{axis}" for kind, axes in (("quatern", "bcd"), ("qoffset", "xyz")) for axis in axes),
)


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """A header whose voxels can be read.

    Attributes
    ----------
    channels : int
    shape : tuple of int
        Voxels along i, j, k.
    dtype : numpy.dtype
        With the file's byte order.
    offset : int
        Byte at which the voxels begin.
    slope, intercept : float
        1 and 0 where the numbers are not scaled.
    affine : ndarray, (4, 4)
        Index (i, j, k) to world millimeters, RAS.
    notes : tuple of str
        What is doubtful about the affine.
    fields : mapping
        All fields as they are, by their names in the format.
    """

    channels: int
    shape: tuple[int, int, int]
    dtype: np.dtype[np.generic]
    offset: int
    slope: float
    intercept: float
    affine: NDArray[np.float64]
    notes: tuple[str, ...]
    fields: Any

    @property
    def is_scaled(self) -> bool:
        """Whether voxels become float32, by a factor and an offset."""
        return (self.slope, self.intercept) != (1, 0)

    @property
    def size_bytes(self) -> int:
        """Bytes of the voxels in the file."""
        return math.prod(self.shape) * self.channels * self.dtype.itemsize


def parse_header(start: bytes, where: str, *, is_pair: bool = False) -> NiftiHeader:
    """Parse the first bytes of a file, inflated.

    Parameters
    ----------
    start : bytes
        At least as long as the header.
    is_pair : bool
        Whether the voxels are in another file, and begin there.
    """
    fields, order = _fields(start, where)
    channels, shape = _split_channels(fields["dim"].tolist(), where)
    code = int(fields["datatype"])
    if code not in data_type_codes.dtype:
        raise ScanError(where, f"datatype {code} is not one of NIfTI", CORRECT)
    dtype: Any = data_type_codes.dtype[code]
    check_dtype(dtype, where)
    least = 0 if is_pair else int(fields["sizeof_hdr"]) + EXTENSION_FLAG_BYTES
    offset = float(fields["vox_offset"]) or least
    if not least <= offset <= 2**62 or offset != int(offset):
        raise ScanError(where, f"vox_offset: expected {least} or more, got {offset:g}", CORRECT)
    slope, intercept = _scale(fields, where)
    affine, notes = _place(fields, shape)
    dtype = dtype.newbyteorder(order)
    return NiftiHeader(channels, shape, dtype, int(offset), slope, intercept, affine, notes, fields)


def _fields(start: bytes, where: str) -> tuple[Any, Any]:
    """The fields of a header, and its byte order."""
    for order in "<>":
        kind = HEADERS.get(int.from_bytes(start[:4], "little" if order == "<" else "big"))
        if kind is not None and len(start) >= kind.sizeof_hdr:
            fields = np.frombuffer(start, kind.template_dtype.newbyteorder(order), 1)[0]
            if fields["magic"][:3] in MAGICS:
                return fields, order
    raise ScanError(where, "not a NIfTI file: it has no valid header", "Fetch the file again")


def _split_channels(dim: Sequence[int], where: str) -> tuple[int, tuple[int, int, int]]:
    """Channels and (i, j, k) of the format's list of sizes: a fourth dimension holds channels."""
    count, *rest = dim
    sizes = rest[: max(0, count)]
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    if not 1 <= count <= len(rest) or len(sizes) not in (2, 3, 4):
        problem = f"expected 3 dimensions, or 4 with channels last, got shape {tuple(sizes)}"
        raise ScanError(where, problem, "Write one file for each time or volume")
    if min(sizes) < 1:
        raise ScanError(where, f"dim: expected sizes above zero, got {tuple(sizes)}", CORRECT)
    i, j, k, channels = [*sizes, 1, 1][:4]
    return channels, (i, j, k)


def _scale(fields: Any, where: str) -> tuple[float, float]:
    """Slope and intercept; by the format, a slope of 0 means none."""
    slope, intercept = float(fields["scl_slope"]), float(fields["scl_inter"])
    if slope == 0 or not math.isfinite(slope):
        return 1.0, 0.0
    if not math.isfinite(intercept):
        raise ScanError(where, f"scl_inter: expected a finite number, got {intercept}", CORRECT)
    return slope, intercept


def _place(fields: Any, shape: tuple[int, int, int]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """The affine in millimeters, and what is doubtful about it."""
    sform = _sform(fields) if fields["sform_code"] > 0 else None
    qform = _qform(fields, shape) if fields["qform_code"] > 0 else None
    if sform is None:
        if qform is not None:
            return qform, ()
        return _centered(fields, shape), ("has neither sform nor qform: which side is left is not known",)
    if qform is None:
        return sform, ()
    if not sform[:3].any():
        return qform, ("its sform is zero; the qform is used",)
    return sform, _disagreement(sform, qform, shape)


def _disagreement(
    sform: NDArray[np.float64], qform: NDArray[np.float64], shape: tuple[int, int, int]
) -> tuple[str, ...]:
    with np.errstate(invalid="ignore"):
        corners, apart = corners_apart_mm(shape, sform, qform)
    worst = int(np.argmax(apart))
    # Written so that a NaN disagrees too.
    if apart[worst] <= SAME_PLACE_VOXELS * np.linalg.norm(sform[:3, :3], axis=0).min():
        return ()
    voxel = ", ".join(map(str, corners[worst].tolist()))
    return (f"sform and qform put voxel ({voxel}) {apart[worst]:.4g} mm apart; the sform is used, some viewers differ",)


def _unit_mm(fields: Any) -> float:
    return MILLIMETERS.get(int(fields["xyzt_units"]) & SPATIAL_UNIT, 1.0)


def _spacing_mm(fields: Any, shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """Of `pixdim`, which may be 0 where there is one voxel; NaN where it is no distance."""
    steps = fields["pixdim"][1:4].astype(np.float64)
    steps[(steps == 0) & (np.array(shape) == 1)] = 1
    steps[~(steps > 0)] = np.nan
    spacing_mm: NDArray[np.float64] = steps * _unit_mm(fields)
    return spacing_mm


def _sform(fields: Any) -> NDArray[np.float64]:
    affine = np.eye(4)
    affine[:3] = [fields["srow_x"], fields["srow_y"], fields["srow_z"]]
    affine[:3] *= _unit_mm(fields)
    return affine


def _qform(fields: Any, shape: tuple[int, int, int]) -> NDArray[np.float64]:
    vector = np.array([fields[f"quatern_{axis}"] for axis in "bcd"], np.float64)
    length = float(np.linalg.norm(vector))
    if length > 1:
        # A hair too long by rounding; a rotation by 180 degrees.
        vector = vector / length if length <= LONGEST_QUATERNION else vector * np.nan
    real = math.sqrt(max(0.0, 1 - float(vector @ vector)))
    affine = np.eye(4)
    mirrored = [1, 1, -1 if fields["pixdim"][0] == -1 else 1]
    affine[:3, :3] = quat2mat([real, *vector]) * (_spacing_mm(fields, shape) * mirrored)
    affine[:3, 3] = np.array([fields[f"qoffset_{axis}"] for axis in "xyz"], np.float64) * _unit_mm(fields)
    return affine


def _centered(fields: Any, shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """As nibabel and SPM have it: x runs to the left, and the middle is at zero."""
    steps = _spacing_mm(fields, shape) * [-1, 1, 1]
    affine = np.diag([*steps, 1.0])
    affine[:3, 3] = -steps * (np.array(shape) - 1) / 2
    return affine
