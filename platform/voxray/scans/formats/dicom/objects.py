"""The kinds of DICOM objects: those whose frames are slices of a volume, and why all others are skipped."""

from pydicom.dataset import Dataset
from pydicom.uid import UID

STORAGE = "1.2.840.10008.5.1.4.1.1"
DIRECTORY = "1.2.840.10008.1.3.10"
CT = frozenset(f"{STORAGE}.{end}" for end in ("2", "2.1", "2.2"))  # plain, enhanced, converted to enhanced
MR = frozenset(f"{STORAGE}.{end}" for end in ("4", "4.1", "4.4"))
PET = frozenset(f"{STORAGE}.{end}" for end in ("128", "130", "128.1"))
X_RAY_3D = frozenset(f"{STORAGE}.{end}" for end in ("13.1.1", "13.1.2", "13.1.3"))  # angiography, teeth, breasts
VOLUMES = CT | MR | PET | X_RAY_3D
SCALED = CT | PET  # where the standard asks for a slope and an intercept
SECONDARY_CAPTURE = f"{STORAGE}.7"  # single-frame; those of several frames have further numbers

IDENTITY = ["SOPClassUID", "ImageType", "PhotometricInterpretation", "Rows", "SamplesPerPixel"]
GRAY = ("", "MONOCHROME1", "MONOCHROME2")
COLORS = ("RGB", "PALETTE COLOR", "YBR")  # or begins so
UNKNOWN = "an object of an unknown class"


def class_of(header: Dataset) -> str:
    """SOPClassUID, of the file's first group where the header has lost it; empty where neither names one."""
    return text(header, "SOPClassUID") or _class_of_file(header)


def _class_of_file(header: Dataset) -> str:
    return text(getattr(header, "file_meta", Dataset()), "MediaStorageSOPClassUID")


def why_skipped(header: Dataset) -> str:
    """Why an object is not part of a scan, such as "a localizer"; empty for slices of a volume.

    Parameters
    ----------
    header : Dataset
        With the elements IDENTITY.
    """
    kind = class_of(header)
    if kind not in VOLUMES:
        return _foreign(kind)
    image_type = header.get("ImageType") or ()
    types = {image_type} if isinstance(image_type, str) else {str(value).strip().upper() for value in image_type}
    reasons = {
        "a screen save": "SCREEN SAVE" in types,
        "a localizer": "LOCALIZER" in types,
        "a Siemens mosaic, which shows all slices in one picture": "MOSAIC" in types,
        "a color picture": text(header, "PhotometricInterpretation").startswith(COLORS),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def is_damaged(header: Dataset, skipped: str) -> bool:
    """Whether the identity of an object is not whole, so that it may be a slice of a volume, or one that is cut off.

    Parameters
    ----------
    header : Dataset
        With the elements IDENTITY and SeriesInstanceUID.
    skipped : str
        What `why_skipped` says.
    """
    kind, series = class_of(header), text(header, "SeriesInstanceUID")
    if skipped:
        is_slice = _class_of_file(header) in VOLUMES and kind not in VOLUMES
        return is_slice or not kind or (skipped == UNKNOWN and not series)
    is_gray = text(header, "PhotometricInterpretation") in GRAY and header.get("SamplesPerPixel", 1) == 1
    return not (series and header.get("Rows") and is_gray)


def _foreign(kind: str) -> str:
    if kind == DIRECTORY:
        return "a DICOMDIR"
    if f"{kind}.".startswith(f"{SECONDARY_CAPTURE}."):
        return "a secondary capture"
    # The names of the standard; others may hold anything.
    name = UID(kind).name.removesuffix(" Storage")
    return f"an object of the class {name}" if name != kind else UNKNOWN


def text(header: Dataset, keyword: str) -> str:
    """An element as text without padding; empty where it is missing."""
    return str(header.get(keyword) or "").strip(" \0")
