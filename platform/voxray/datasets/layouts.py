"""From the experiment's data section to a Manifest."""

from voxray.config.data import DataSpec
from voxray.datasets.brats2020 import read_brats2020
from voxray.datasets.decathlon import read_decathlon
from voxray.datasets.dicom import read_dicom
from voxray.datasets.luna16 import read_luna16
from voxray.datasets.manifest import Manifest
from voxray.datasets.medmnist import read_medmnist
from voxray.datasets.mosmed import read_mosmed
from voxray.datasets.table import read_table
from voxray.errors import DataError
from voxray.storage.paths import list_once, to_path


def read_manifest(data: DataSpec, *, with_patients: bool = False) -> Manifest:
    """Read the manifest of a data set in the layout that the experiment names.

    Parameters
    ----------
    data : DataSpec
    with_patients : bool
        Whether patients go by what DICOM headers call them, for a caller that hides it; else by their first scan.

    Raises
    ------
    DataError
        The folder is missing or is not in that layout.
    """
    root = list_once(to_path(data.root))
    if data.layout == "medmnist":
        return read_medmnist(root, data.classes)
    if not root.is_dir():
        raise DataError("data.root", f"no such folder, got '{root}'", "Correct the path, or give --set data.root=…")
    if data.layout == "luna16":
        return read_luna16(root, data.candidates)
    if data.layout == "decathlon":
        return read_decathlon(root)
    if data.layout == "mosmed":
        return read_mosmed(root, data.folders)
    if data.layout == "brats2020":
        return read_brats2020(root)
    if data.layout == "dicom":
        return read_dicom(root, data.labels, data.classes, with_patients=with_patients)
    return read_table(root, data.manifest, data.classes, data.channels)
