"""NIfTI files: headers of every kind, damaged bytes and odd fields."""

import gzip
import zlib
from collections.abc import Iterator

import nibabel
import numpy as np
from fuzz_scans import Scan, check_scan, read_scan
from fuzzing import FIFO, Case, damage
from readers.nifti_files import VOXELS, nifti, refused_files

FIELDS = [name for name in nibabel.Nifti1Header.template_dtype.names if name not in ("data_type", "db_name", "descrip")]
ODD = (0, 1, -1, 2, 7, 348, 352, 32767, -32768, 2**31 - 1, 0.5, -2.5, 1e-30, 1e30, np.nan, np.inf, -np.inf)


def cases(seed: int) -> Iterator[Case]:
    """Named ones, random bytes and random fields."""
    if seed == 0:
        for name, file, content, _ in refused_files():
            yield Case(name, {file: content}, read_scan(file))
        for file in ("a.nii", "a.nii.gz", "a.hdr"):
            yield Case(f"a pipe named {file}", {file: FIFO}, read_scan(file))
            yield Case(f"a folder named {file}", {f"{file}/b": b""}, read_scan(file))
    rng = np.random.default_rng(seed)
    plain = nifti()
    for number in range(40):
        yield _case(f"damaged bytes {number}", "a.nii", damage(plain, rng))
        yield _case(f"damaged bytes before gzip {number}", "a.nii.gz", gzip.compress(damage(plain, rng)))
        yield _case(f"damaged gzip {number}", "a.nii.gz", damage(gzip.compress(plain), rng))
    for number in range(60):
        yield _case(f"odd field {number}", "a.nii", _odd(rng))


def _case(name: str, file: str, content: bytes) -> Case:
    return Case(name, {file: content}, read_scan(file), lambda scan: _check(content, scan))


def _odd(rng: np.random.Generator) -> bytes:
    """A file of which one field, or one number of a field, is odd."""
    header = nibabel.Nifti1Header(nifti()[:348], check=False)
    name = FIELDS[int(rng.integers(len(FIELDS)))]
    value = header[name].copy()
    odd = np.array(ODD[int(rng.integers(len(ODD)))])
    with np.errstate(all="ignore"):
        if value.dtype.kind == "S":
            value = np.array(rng.bytes(3), value.dtype)
        elif value.ndim:
            value[int(rng.integers(len(value)))] = odd.astype(value.dtype)
        else:
            value = odd.astype(value.dtype)
    header[name] = value
    return bytes(header.binaryblock) + bytes(4) + VOXELS.tobytes(order="F")


def _check(content: bytes, scan: Scan) -> None:
    """What was accepted is consistent, and holds no more than the file does."""
    check_scan(scan)
    if not content.startswith(b"\x1f\x8b"):
        assert scan.volume.array.size <= len(content)
    elif scan.volume.array.dtype == np.int16:
        assert scan.volume.array.nbytes <= len(gzip_content(content))


def gzip_content(content: bytes) -> bytes:
    """As much of a stream as can be inflated."""
    return zlib.decompressobj(wbits=31).decompress(content)
