"""DICOM files: how they are opened.

Headers are full of names and dates. Only geometry and intensity become part of a volume, and messages repeat no value
of a header.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import SEEK_END
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from voxray.errors import ScanError, WorkError
from voxray.scans.formats.dicom.signature import START, SUFFIXES, begins_as_dicom
from voxray.storage.paths import AnyPath, as_file

DAMAGED = "is cut off, or its header is damaged"
CUT_OFF = "is cut off before the end of its pixels"

# Invalid values are handled here; warnings of the library would repeat them.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


def read_header(path: AnyPath, tags: list[str] | None = None) -> Dataset | None:
    """The header of `read_header_and_rest`; None for a file that is not DICOM."""
    found = read_header_and_rest(path, tags)
    return found and found[0]


def read_header_and_rest(path: AnyPath, tags: list[str] | None = None) -> tuple[Dataset, int] | None:
    """Read a header, or some elements of it, without pixels; None for a file that is not DICOM.

    Returns
    -------
    Dataset
    int
        Bytes of the file that follow: those of the pixels, unless the file is deflated, and what is behind them.

    Raises
    ------
    ScanError
        The header cannot be read, or the file is empty, or zeros, or has a suffix of DICOM and is none.
    """
    with nameless_errors(path, DAMAGED):
        source = as_file(path)
        with source.open("rb") if isinstance(source, Path) else source as file:
            start = file.read(START)
            if begins_as_dicom(start):
                file.seek(0)
                dataset = pydicom.dcmread(file, force=True, stop_before_pixels=True, specific_tags=tags)
                end = file.tell()
                return dataset, file.seek(0, SEEK_END) - end
    is_empty = not start.strip(b"\0")
    if path.suffix.lower() in SUFFIXES or is_empty:
        raise ScanError(str(path), "is an empty file" if is_empty else "is no DICOM file", "Fetch the file again")
    return None


@contextmanager
def nameless_errors(path: AnyPath, problem: str) -> Iterator[None]:
    """Turn exceptions of the library into ScanError without their text, which may repeat values of the header."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (ScanError, WorkError):
        raise
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ScanError(str(path), f"cannot be read: {reason}", "Check the file") from None
    except Exception as error:  # noqa: BLE001  a damaged header can raise anything
        raise ScanError(str(path), f"{problem} ({type(error).__name__})", "Fetch the file again") from None
