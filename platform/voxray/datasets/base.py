"""What every layout provides."""

from collections.abc import Callable
from dataclasses import dataclass

from voxray.datasets.manifest import Manifest
from voxray.storage.paths import AnyPath


@dataclass(frozen=True)
class Layout:
    """A layout of data sets on disk: how it is recognized, and how it is read.

    Attributes
    ----------
    name : str
        As ``data.layout`` gives it.
    read : callable
        ``read(root, **settings) -> Manifest``: lists scans and samples without reading voxels; raises DataError.
    settings : tuple of str
        The settings of ``[data]`` that `read` takes as keyword arguments.
    prediction_settings : tuple of str
        Further settings of ``[data]``, which `read` does not take and prediction uses.
    recognize : callable
        Path to bool: whether a folder or file looks like this layout. Only names are looked at.
    is_file : bool
        Whether the root is a file instead of a folder.
    names_patients : bool
        Whether `read` also takes ``with_patients``: by default patients are named after their first scan.
    unit : str
        Of the voxels, such as ``HU``; empty where scans have different units or none.
    samples_points : bool
        Whether samples are points in a scan, so that a scan as a whole has no class.
    annotations : tuple of str
        File names of the list of what is searched for, and of the list of findings that count neither way; with them
        candidates are also scored as a detection.
    """

    name: str
    read: Callable[..., Manifest]
    settings: tuple[str, ...] = ()
    prediction_settings: tuple[str, ...] = ()
    recognize: Callable[[AnyPath], bool] = lambda _: False
    is_file: bool = False
    names_patients: bool = False
    unit: str = ""
    samples_points: bool = False
    annotations: tuple[str, ...] = ()

    @property
    def all_settings(self) -> tuple[str, ...]:
        """The settings of ``[data]`` that this layout uses, beside those that all use."""
        return (*self.settings, *self.prediction_settings)
