"""Which files a prediction may replace: those that an earlier one wrote."""

import io
from collections.abc import Collection, Iterator
from typing import Any

from PIL import Image

from voxray.errors import ConfigError, ScanError
from voxray.prediction.earlier import KEY
from voxray.prediction.findings import MOST_PICTURES
from voxray.runs.folder import PredictionFolder
from voxray.runs.records import read_state
from voxray.scans.formats.nifti import read_nifti_header
from voxray.storage.paths import AnyPath, exists, read_bytes
from voxray.visualization.style import SOFTWARE

DESCRIPTION = "voxray predict"  # in the header of each NIfTI file that it writes
CLASSIFICATION = {"scan", "probabilities", "prediction", "saliency"}  # some keys of a classified scan
FINDINGS = {"scan", "axes", "findings"}  # of a scan with findings
RECORD = {"scan", "members", "tta", KEY}  # of a prediction that is not finished
PAGE = b"Voxray findings</title>"
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
        for file, is_own in target_files(folder, task, name, probabilities):
            if exists(file) and file.resolve() in given:
                raise ConfigError(str(file), "is to be read, and would be overwritten", ANOTHER_FOLDER)
            if exists(file) and not is_own:
                raise ConfigError(str(file), "exists and was not written by voxray predict", ANOTHER_FOLDER)


def target_files(folder: PredictionFolder, task: str, name: str, probabilities: bool) -> Iterator[tuple[AnyPath, bool]]:
    """The files that are written for a scan, and whether an earlier prediction wrote those that are there."""
    if task == "classification":
        content, picture = read_state(folder.classification(name)), folder.saliency(name)
        named = content.keys() >= CLASSIFICATION and _picture(content) == picture.name
        # Either of them may be damaged: the other one tells.
        is_own = named or _is_drawn(picture)
        yield folder.classification(name), is_own or content.keys() >= CLASSIFICATION or content.keys() >= RECORD
        yield picture, is_own
        return
    if task == "findings":
        page = folder.findings_page(name)
        keys = read_state(folder.findings(name)).keys()
        is_own = keys >= FINDINGS or keys >= RECORD or (exists(page) and PAGE in read_bytes(page))
        for file in (folder.findings(name), folder.findings_table(name), page):
            yield file, is_own
        for number in range(1, MOST_PICTURES + 1):
            file = folder.finding_picture(f"{name}_finding_{number}")
            yield file, is_own or _is_drawn(file)
        return
    for file in (folder.label_map(name), *([folder.probabilities(name)] if probabilities else [])):
        yield file, exists(file) and _has_description(file)
    record, labels = folder.record(name), folder.label_map(name)
    is_own = read_state(record).keys() >= RECORD or (exists(labels) and _has_description(labels))
    yield record, is_own


def _picture(content: dict[str, Any]) -> Any:
    saliency = content["saliency"]
    return saliency.get("picture") if isinstance(saliency, dict) else None


def _is_drawn(file: AnyPath) -> bool:
    """Whether a picture says that a prediction drew it."""
    if not exists(file):
        return False
    try:
        with Image.open(io.BytesIO(read_bytes(file))) as picture:
            return picture.info.get("Software") == SOFTWARE
    except (OSError, SyntaxError, ValueError):
        return False


def _has_description(file: AnyPath) -> bool:
    try:
        return bytes(read_nifti_header(file).fields["descrip"]).rstrip(b"\0") == DESCRIPTION.encode()
    except (OSError, ScanError):
        return False
