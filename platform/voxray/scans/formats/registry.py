"""The table of file formats. A new format is one module that defines a Format, and its entry in `KNOWN`."""

from voxray.errors import ScanError
from voxray.scans.formats.base import Format
from voxray.scans.formats.dicom import DICOM
from voxray.scans.formats.metaimage import METAIMAGE
from voxray.scans.formats.nifti import NIFTI
from voxray.scans.formats.npz import NPZ
from voxray.scans.formats.nrrd import NRRD
from voxray.scans.formats.picture import PICTURE
from voxray.scans.formats.spheres import SPHERES
from voxray.storage.paths import AnyPath, storage_errors

KNOWN = (METAIMAGE, NIFTI, NRRD, PICTURE, NPZ, SPHERES, DICOM)
FORMATS: dict[str, Format] = {known.name: known for known in KNOWN}


def known_suffixes() -> tuple[str, ...]:
    """The suffixes of all formats, such as ``.nii.gz``."""
    return tuple(suffix for known in FORMATS.values() for suffix in known.suffixes)


def split_suffix(name: str) -> tuple[str, str]:
    """Split a file name into its stem and its suffix, ``a`` and ``.nii.gz``; an unknown suffix stays in the stem."""
    suffix = next((suffix for suffix in known_suffixes() if name.lower().endswith(suffix)), "")
    end = len(name) - len(suffix)
    return name[:end], name[end:]


def find_format(path: AnyPath) -> Format:
    """The format of a file or folder: by its suffix, else by what it holds.

    Raises
    ------
    ScanError
        The file is missing, or of no known format.
    """
    name = path.name.lower()
    by_suffix = next((known for known in FORMATS.values() if name.endswith(known.suffixes)), None)
    if by_suffix is not None:
        return by_suffix
    with storage_errors(path):
        # Files of a DICOM series often have no suffix, or numbers that look like one.
        by_content = next((known for known in FORMATS.values() if known.matches(path)), None)
        if by_content is None and not path.exists():
            raise ScanError(str(path), "no such file", "Check the path")
    if by_content is None:
        raise ScanError(str(path), f"unknown file format '{path.suffix}'", f"Known: {', '.join(known_suffixes())}")
    return by_content
