"""The DICOM files of a folder: the series of each."""

from dataclasses import dataclass

from voxray.errors import ScanError
from voxray.scans.formats.dicom.files import DAMAGED, nameless_errors, read_header
from voxray.scans.formats.dicom.objects import IDENTITY, is_damaged, text, why_skipped
from voxray.storage.paths import AnyPath

TAGS = [*IDENTITY, "SeriesInstanceUID", "PatientID"]


@dataclass(frozen=True)
class DicomFile:
    """The series of a file.

    Attributes
    ----------
    path : path
    series, patient : str
        SeriesInstanceUID and PatientID, only for grouping.
    skipped : str
        Why it is not part of a scan, such as "a localizer"; empty for a slice.
    """

    path: AnyPath
    series: str
    patient: str
    skipped: str


@dataclass(frozen=True)
class DicomFolder:
    """The files directly in a folder, in the order of their names.

    Attributes
    ----------
    files : tuple of DicomFile
    broken : dict of path to str
        Files that should be DICOM but are empty, damaged or not to be read, and the reason.
    others : int
        Number of files of another kind.
    """

    files: tuple[DicomFile, ...]
    broken: dict[AnyPath, str]
    others: int

    @property
    def slices(self) -> tuple[DicomFile, ...]:
        """The files that are parts of scans."""
        return tuple(file for file in self.files if not file.skipped)


def read_folder(folder: AnyPath) -> DicomFolder:
    """Read the headers of the files directly in a folder, without pixels."""
    files: list[DicomFile | None] = []
    broken: dict[AnyPath, str] = {}
    for path in sorted(entry for entry in folder.iterdir() if not entry.name.startswith(".")):
        # A link to nothing is a slice that was not fetched.
        if not path.is_file() and not (path.is_symlink() and not path.exists()):
            continue
        try:
            files.append(_identify(path))
        except ScanError as error:
            broken[path] = error.problem
    return DicomFolder(tuple(filter(None, files)), broken, files.count(None))


def _identify(path: AnyPath) -> DicomFile | None:
    """None for a file of another kind; ScanError for one that may be a slice and is damaged."""
    header = read_header(path, TAGS)
    if header is None:
        return None
    with nameless_errors(path, DAMAGED):
        skipped = why_skipped(header)
        if is_damaged(header, skipped):
            raise ScanError(str(path), DAMAGED)
        return DicomFile(path, text(header, "SeriesInstanceUID"), text(header, "PatientID"), skipped)
