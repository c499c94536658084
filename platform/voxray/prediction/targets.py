"""Which files a prediction may replace: those that an earlier one wrote."""

from collections.abc import Collection, Iterator
from typing import Any

from voxray.errors import ConfigError, ScanError
from voxray.runs.folder import PredictionFolder
from voxray.runs.records import read_state
from voxray.scans.formats.nifti import read_nifti_header
from voxray.storage.paths import AnyPath, exists

DESCRIPTION = "voxray predict"  # in the header of each NIfTI file that it writes
CLASSIFICATION = {"scan", "probabilities", "prediction", "saliency"}  # some keys of a classified scan
FINDINGS = {"scan", "axes", "findings"}  # of a scan with findings
ANOTHER_FOLDER = "Give another folder with --out"


def check_targets(
    folder: PredictionFolder, task: str, names: Collection[str], inputs: Collection[AnyPath], *, probabilities: bool
) -> None:
    """Raise ConfigError where a file would be overwritten that no prediction wrote.

    Parameters
    ----------
    folder : PredictionFolder
        Where the predictions are written.
    task : str
        What the run answers with: segmentation, classification or findings.
    names : collection of str
        Of the scans, without suffixes.
    inputs : collection of AnyPath
        All files that are read; absolute paths.
    probabilities : bool
        Whether probabilities are written too.
    """
    given = {path.resolve() for path in inputs}
    for name in names:
        for file, is_own in _targets(folder, task, name, probabilities):
            if exists(file) and file.resolve() in given:
                raise ConfigError(str(file), "is to be read, and would be overwritten", ANOTHER_FOLDER)
            if exists(file) and not is_own:
                raise ConfigError(str(file), "exists and was not written by voxray predict", ANOTHER_FOLDER)


def _targets(folder: PredictionFolder, task: str, name: str, probabilities: bool) -> Iterator[tuple[AnyPath, bool]]:
    """The files that are written for a scan, and whether an earlier prediction wrote those that are there."""
    if task == "classification":
        content = read_state(folder.classification(name))
        is_own = content.keys() >= CLASSIFICATION
        yield folder.classification(name), is_own
        yield folder.saliency(name), is_own and _picture(content) == folder.saliency(name).name
        return
    if task == "findings":
        content = read_state(folder.findings(name))
        is_own = content.keys() >= FINDINGS
        yield folder.findings(name), is_own
        for file in (folder.findings_table(name), folder.findings_page(name)):
            yield file, is_own
        return
    for file in (folder.label_map(name), *([folder.probabilities(name)] if probabilities else [])):
        yield file, exists(file) and _has_description(file)


def _picture(content: dict[str, Any]) -> Any:
    saliency = content["saliency"]
    return saliency.get("picture") if isinstance(saliency, dict) else None


def _has_description(file: AnyPath) -> bool:
    try:
        return bytes(read_nifti_header(file).fields["descrip"]).rstrip(b"\0") == DESCRIPTION.encode()
    except (OSError, ScanError):
        return False
