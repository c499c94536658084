"""NIfTI files of every kind of header, and how another reader sees them."""

import gzip
from collections.abc import Iterator
from typing import Any

import nibabel
import numpy as np

DTYPES = ("u1", "i1", "i2", "u2", "i4", "u4", "f4", "f8", "i8", "u8")
VOXELS = np.arange(24, dtype="<i2").reshape(4, 3, 2)
SFORM = np.array([[-2.0, 0, 0, 10], [0, -3, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]])
QFORM = np.array([[2.0, 0, 0, 1], [0, 3, 0, 2], [0, 0, 4, 3], [0, 0, 0, 1]])
SHEARED = SFORM + np.array([[0, 0.5, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
TURNED = np.array([[0, -3, 0, 5], [1.6, 0, 2.4, 6], [-1.2, 0, 3.2, 7], [0, 0, 0, 1]])


def nifti(
    sform: Any = SFORM,
    qform: Any = None,
    codes: tuple[int, int] = (1, 1),
    *,
    kind: Any = nibabel.Nifti1Image,
    order: str = "<",
    dtype: str = "i2",
    **fields: Any,
) -> bytes:
    """A file of VOXELS; `codes` are those of the sform and the qform, `fields` are set last, as they are."""
    data = VOXELS.astype(order + dtype)
    image = kind(data, None, kind.header_class(endianness=order))
    image.header.set_data_dtype(data.dtype)
    image.header.set_sform(sform, codes[0])
    image.header.set_qform(sform if qform is None else qform, codes[1])
    header = image.header
    header["magic"], header["vox_offset"] = {348: (b"n+1", 352), 540: (b"n+2", 544)}[int(header["sizeof_hdr"])]
    for name, value in fields.items():
        header[name] = value
    return bytes(header.binaryblock) + bytes(4) + data.tobytes(order="F")


def quaternion(length: float) -> dict[str, float]:
    """A rotation by 180 degrees, as long as this."""
    return {f"quatern_{axis}": length / 3**0.5 for axis in "bcd"}


def equal_files() -> Iterator[tuple[str, str, bytes]]:
    """Name of the case, file name and content of files that ITK reads, and we read as it does."""
    for sform_code in (0, 1, 2, 4):
        for qform_code in (0, 1, 2, 4):
            if sform_code or qform_code:
                yield f"codes {sform_code} and {qform_code}", "a.nii", nifti(codes=(sform_code, qform_code))
    for unit in (0, 1, 2, 3, 4, 7, 8, 9, 10, 11, 24):
        yield f"unit {unit}", "a.nii", nifti(xyzt_units=unit)
        yield f"unit {unit} of a qform", "a.nii", nifti(xyzt_units=unit, codes=(0, 1))
    for order in "<>":
        for dtype in DTYPES:
            yield f"{order}{dtype}", "a.nii", nifti(order=order, dtype=dtype)
    yield "turned", "a.nii", nifti(TURNED)
    yield "turned, qform only", "a.nii", nifti(TURNED, codes=(0, 1))
    yield "mirrored", "a.nii", nifti(np.diag([2.0, 3, -4, 1]))
    yield "an all-zero sform", "a.nii", nifti(srow_x=0, srow_y=0, srow_z=0)
    yield "qform only, qfac of 0", "a.nii", nifti(codes=(0, 1), pixdim=[0, 2, 3, 4, 1, 1, 1, 1])
    for excess in (1e-6, 1e-4, 5e-3):
        yield f"a quaternion longer by {excess:g}", "a.nii", nifti(codes=(0, 1), **quaternion(1 + excess))
    yield "a short quaternion", "a.nii", nifti(codes=(0, 1), **quaternion(0.5))
    for slope, intercept in ((0, 0), (np.nan, 0), (np.inf, 0), (1, 0), (2, 5), (0.5, -3), (-1, 0), (1, 7)):
        yield f"slope {slope}, intercept {intercept}", "a.nii", nifti(scl_slope=slope, scl_inter=intercept)
    for dtype in ("u1", "i4", "f4"):
        yield f"scaled {dtype}", "a.nii", nifti(dtype=dtype, scl_slope=0.5, scl_inter=1)
    plain = nifti()
    yield "an extension", "a.nii", _extended()
    yield "bytes behind the voxels", "a.nii", plain + b"abc"
    yield "compressed", "a.nii.gz", gzip.compress(plain)
    yield "compressed, zeros behind the stream", "a.nii.gz", gzip.compress(plain) + bytes(99)
    yield "compressed, anything behind the stream", "a.nii.gz", gzip.compress(plain) + b"abc" * 99
    yield "compressed, bytes behind the voxels", "a.nii.gz", gzip.compress(plain + b"abc" * 99)
    yield "compressed in two parts", "a.nii.gz", gzip.compress(plain[:360]) + gzip.compress(plain[360:])
    yield "not compressed, whatever its name", "a.nii.gz", plain
    yield "the mark of a pair in a single file", "a.nii", nifti(magic=b"ni1")
    yield "wrong bitpix", "a.nii", nifti(bitpix=8)


def own_files() -> Iterator[tuple[str, str, bytes, np.ndarray, np.ndarray]]:
    """Files that ITK reads otherwise or not at all, and what is right: voxels and affine."""
    yield "sform and qform that differ", "a.nii", nifti(qform=QFORM, codes=(2, 1)), VOXELS, SFORM
    yield "sheared sform", "a.nii", nifti(SHEARED, codes=(1, 1)), VOXELS, SHEARED
    yield "sheared sform alone", "a.nii", nifti(SHEARED, codes=(1, 0)), VOXELS, SHEARED
    centered = np.array([[-2.0, 0, 0, 3], [0, 3, 0, -3], [0, 0, 4, -2], [0, 0, 0, 1]])
    yield "no code", "a.nii", nifti(codes=(0, 0)), VOXELS, centered  # as nibabel
    yield "voxels at byte 0 of a single file", "a.nii", nifti(vox_offset=0), VOXELS, SFORM  # ITK reads from byte 348
    second = nibabel.Nifti2Image
    yield "voxels at byte 0 of a file of version 2", "a.nii", nifti(kind=second, vox_offset=0), VOXELS, SFORM
    for order in "<>":
        for dtype in DTYPES:
            yield f"version 2, {order}{dtype}", "a.nii", nifti(kind=second, order=order, dtype=dtype), VOXELS, SFORM
    yield "version 2, qform only", "a.nii", nifti(TURNED, kind=second, codes=(0, 1)), VOXELS, TURNED
    meters = nifti(SFORM / 1000, kind=second, xyzt_units=1)
    yield "version 2, meters", "a.nii", meters, VOXELS, SFORM
    yield "an intercept without a slope", "a.nii", nifti(scl_slope=0, scl_inter=5), VOXELS, SFORM  # as the format says
    yield "compressed, whatever its name", "a.nii", gzip.compress(nifti()), VOXELS, SFORM


def refused_files() -> Iterator[tuple[str, str, bytes, str]]:
    """Files that are no scans, and words of the error."""
    plain = nifti()
    for offset in (1, 348, 351, 352.5, -1, np.nan, np.inf, 1e20):
        yield f"voxels at byte {offset}", "a.nii", nifti(vox_offset=offset), "vox_offset|bytes of voxels"
    for dim in ([3, 4, 0, 2], [3, 4, -3, 2], [0, 4, 3, 2], [8, 4, 3, 2], [-1, 4, 3, 2], [1, 24, 1, 1]):
        yield f"dim {dim}", "a.nii", nifti(dim=[*dim, 1, 1, 1, 1]), "expected 3 dimensions|sizes above zero"
    yield "five dimensions", "a.nii", nifti(dim=[5, 4, 3, 1, 1, 2, 1, 1]), "expected 3 dimensions"
    huge = nifti(dim=[3, 32767, 32767, 32767, 1, 1, 1, 1])
    yield "far too few voxels", "a.nii", huge, "holds 48 bytes of voxels, expected 70,362,"
    yield "far too few compressed voxels", "a.nii.gz", gzip.compress(huge), "compressed bytes, which cannot be 70,362,"
    yield "cut off", "a.nii", plain[:-1], "holds 47 bytes of voxels, expected 48"
    yield "cut off before it was compressed", "a.nii.gz", gzip.compress(plain[:-1]), "holds 47 bytes of voxels"
    yield "cut off after it was compressed", "a.nii.gz", gzip.compress(plain)[:-20], "bytes of voxels|cannot be read"
    packed = bytearray(gzip.compress(plain))
    packed[-6] ^= 1
    yield "a wrong checksum", "a.nii.gz", bytes(packed), "cannot be read"
    words = {
        32: "complex numbers",
        1792: "complex numbers",
        128: "RGB colors",
        2304: "RGBA colors",
        1536: "a type that",
    }
    for code, size in ((32, 8), (1792, 16), (128, 3), (2304, 4), (1536, 16)):
        problem = f"expected real numbers as voxels, got {words[code]}"
        more = nifti(datatype=code, bitpix=8 * size) + bytes(24 * size)
        yield f"datatype {code}", "a.nii", more, problem
        yield f"compressed datatype {code}", "a.nii.gz", gzip.compress(more), problem
    for code in (0, 1, 99, -1):
        yield f"datatype {code}", "a.nii", nifti(datatype=code), "is not one of NIfTI|expected real numbers"
    yield "no intercept", "a.nii", nifti(scl_slope=2, scl_inter=np.nan), "scl_inter: expected a finite number, got nan"
    yield "a quaternion far too long", "a.nii", nifti(codes=(0, 1), **quaternion(1.5)), "singular or not finite"
    yield "no quaternion", "a.nii", nifti(codes=(0, 1), quatern_b=np.nan), "singular or not finite"
    for step in (0, -2, np.nan):
        pixdim = [1, step, 3, 4, 1, 1, 1, 1]
        yield f"spacing of {step}", "a.nii", nifti(codes=(0, 1), pixdim=pixdim), "singular or not finite"
    yield "an all-zero sform alone", "a.nii", nifti(codes=(1, 0), srow_x=0, srow_y=0, srow_z=0), "singular"
    yield "an infinite sform", "a.nii", nifti(srow_x=np.inf), "singular or not finite"
    for magic in (b"xx", b"", b"n-1"):
        yield f"magic {magic!r}", "a.nii", nifti(magic=magic), "not a NIfTI file"
    yield "a wrong size of the header", "a.nii", nifti(sizeof_hdr=349), "not a NIfTI file"
    for size in (0, 1, 347, 348):
        yield f"{size} bytes", "a.nii", plain[:size], "not a NIfTI file|bytes of voxels"
    yield "gzip of nothing", "a.nii.gz", gzip.compress(b""), "not a NIfTI file"
    yield "Analyze", "a.hdr", bytes(nibabel.AnalyzeHeader().binaryblock), "not a NIfTI file"


def _extended() -> bytes:
    image = nibabel.Nifti1Image(VOXELS, SFORM)
    image.header.set_qform(SFORM, 1)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"x" * 100))
    return bytes(image.to_bytes())
