"""Earlier predictions: which are those of the same run, settings and scan, and need not be made again."""

from collections.abc import Sequence
from typing import Any

from voxray.inference.load import prediction_settings
from voxray.prediction.scans import InputScan
from voxray.runs.folder import PredictionFolder, RunFolder
from voxray.runs.keys import digest
from voxray.runs.proposing import proposing_key
from voxray.runs.read import read_run_experiment
from voxray.runs.records import read_state
from voxray.scans.files import scan_files
from voxray.storage.paths import AnyPath, exists, stays_below
from voxray.storage.states import file_states, is_same

KEY, FILES = "key", "files"  # in the record of a prediction; without files it is unfinished


def settings_key(folders: Sequence[AnyPath], inputs: Sequence[AnyPath], settings: dict[str, Any]) -> str:
    """Name of all that predictions depend on beside their scan: networks, other files that are read, and settings."""
    networks = []
    for folder in map(RunFolder, folders):
        experiment = read_run_experiment(folder)
        model = file_states(folder.path, [folder.model.name])
        networks.append({"model": model, "proposing": proposing_key(experiment), **prediction_settings(experiment)})
    return digest({"networks": networks, "inputs": [_states(file) for file in inputs], **settings})


def prediction_key(settings: str, scan: AnyPath) -> str:
    """Name of all that the prediction of a scan depends on."""
    return digest({"settings": settings, "scan": _states(scan)})


def record_file(folder: PredictionFolder, kind: str, name: str) -> AnyPath:
    """The file that says what the predictions of a scan belong to."""
    records = {"classification": folder.classification, "findings": folder.findings, "segmentation": folder.record}
    return records[kind](name)


def finished_files(files: Sequence[AnyPath]) -> dict[str, str]:
    """The states of files in one folder, for the record of a prediction."""
    return file_states(files[0].parent, [file.name for file in files])


def is_finished(record: AnyPath, settings: str, scan: InputScan, targets: Sequence[AnyPath]) -> tuple[bool, str]:
    """Whether a scan was predicted with these settings already, and what is wrong with what is there, in words.

    What is missing, or was not finished, is to be made again and is not wrong.

    Parameters
    ----------
    record : path
    settings : str
        See `settings_key`.
    scan : InputScan
    targets : sequence of path
        The files that would be written.
    """
    content = read_state(record)
    # The record of a scan that failed, or was interrupted, stands for nothing.
    there = [file for file in targets if exists(file) and (file != record or FILES in content or KEY not in content)]
    if not there:
        return False, ""
    key, files = content.get(KEY), content.get(FILES, {})
    if not isinstance(key, str) or not isinstance(files, dict) or not all(map(stays_below, files)):
        return False, f"{there[0]}: no record says which run and scan it is of"
    if key != prediction_key(settings, scan.path):
        return False, f"{there[0]}: is of another run, other settings or another scan"
    states = file_states(record.parent, list(files))
    changed = [name for name, state in states.items() if not is_same(state, str(files[name]))]
    if changed:
        return False, f"{record.parent / changed[0]}: was changed since it was written"
    return bool(files) and len(states) == len(files), ""


def _states(path: AnyPath) -> list[str]:
    """The contents of the files of a scan, or of another file; names and places do not count."""
    return [state for file in scan_files(path) for state in file_states(file.parent, [file.name]).values()]
