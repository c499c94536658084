"""Masks of a program and of the truth that belong together by their names, and names of their labels."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from voxray.config.validation import shown
from voxray.errors import ConfigError, DataError, ScanError
from voxray.planning.found import some
from voxray.planning.names import take_apart
from voxray.scans.formats.registry import known_suffixes
from voxray.scans.header import read_header
from voxray.scans.masks import check_same_grid
from voxray.storage.paths import AnyPath, exists, matching, read_bytes, relative_path, to_path

MOST_PROBLEMS = 20  # that a message lists


@dataclass(frozen=True)
class MaskPair:
    """The masks of one case."""

    name: str
    prediction: AnyPath
    truth: AnyPath


@dataclass(frozen=True)
class PairedMasks:
    """Cases with both masks, and the files, relative to their folder, without a partner."""

    pairs: tuple[MaskPair, ...]
    only_truth: tuple[str, ...]
    only_prediction: tuple[str, ...]


def pair_masks(prediction: AnyPath, truth: AnyPath) -> PairedMasks:
    """Pair the masks of two folders by their relative paths without suffixes such as ``_seg``, or two files.

    Raises
    ------
    DataError
        A path is missing, one is a file and one a folder, two masks of a folder have one name, or no pair is there.
    """
    missing = [str(path) for path in (prediction, truth) if not exists(path)]
    if missing:
        raise DataError(", ".join(missing), "expected a folder or a file of masks, found none", "Check the path")
    if prediction.is_file() != truth.is_file():
        raise DataError(str(prediction), f"expected two folders or two files, got {truth}", "Give two of a kind")
    if prediction.is_file():
        return PairedMasks((MaskPair(take_apart(truth.name).stem or truth.name, prediction, truth),), (), ())
    predicted, true = _masks_by_name(prediction), _masks_by_name(truth)
    pairs = tuple(MaskPair(name, predicted[name], true[name]) for name in sorted(true.keys() & predicted.keys()))
    only = [
        tuple(relative_path(folder, some_masks[name]) for name in sorted(some_masks.keys() - others.keys()))
        for folder, some_masks, others in ((truth, true, predicted), (prediction, predicted, true))
    ]
    if not pairs:
        problem = f"no mask has the name of one of {truth}, got {some(only[1]) or 'none'} and {some(only[0]) or 'none'}"
        raise DataError(str(prediction), problem, "Name the masks of a case alike")
    return PairedMasks(pairs, *only)


def _masks_by_name(folder: AnyPath) -> dict[str, AnyPath]:
    masks: dict[str, AnyPath] = {}
    twice = []
    for path in matching(folder, "**/*"):
        if not path.name.lower().endswith(known_suffixes()) or path.name.startswith(".") or not path.is_file():
            continue
        parts = take_apart(relative_path(folder, path))
        name = "/".join(filter(None, (*parts.folders, parts.stem))) or parts.path
        if masks.setdefault(name, path) != path:
            twice.append(f"{relative_path(folder, masks[name])} and {parts.path}")
    if twice:
        raise DataError(str(folder), f"several masks of one case: {'; '.join(twice[:MOST_PROBLEMS])}", "Keep one each")
    return masks


def check_grids(pairs: Sequence[MaskPair]) -> None:
    """Compare the headers of all pairs, and raise DataError with all that differ in shape or affine."""
    problems = [problem for pair in pairs for problem in _grid_problems(pair)]
    if problems:
        raise_problems(problems, "Bring the predictions to the grid of the truth")


def _grid_problems(pair: MaskPair) -> Iterator[str]:
    try:
        prediction, truth = read_header(pair.prediction), read_header(pair.truth)
        for path, header in ((pair.prediction, prediction), (pair.truth, truth)):
            if header.channels != 1:
                yield f"{path} has {header.channels} channels, expected a mask of one"
        check_same_grid(truth, prediction, str(pair.truth))
    except ScanError as error:
        problem = error.problem.replace("its mask", f"the prediction {pair.prediction}").replace("image", "truth")
        yield f"{error.where}: {problem}"


def raise_problems(problems: Sequence[str], remedy: str) -> None:
    """Raise DataError with the problems of cases."""
    rest = len(problems) - MOST_PROBLEMS
    listed = [*problems[:MOST_PROBLEMS], *([f"and {rest:,} more"] if rest > 0 else [])]
    raise DataError("masks", "; ".join(listed), remedy)


def read_class_names(text: str) -> dict[int, str]:
    """Names of labels from ``liver=1,tumor=2``, or from the ``labels`` of a dataset.json of nnU-Net or the Decathlon.

    Raises
    ------
    ConfigError
        A label that is no whole number from 1 on, or has two names.
    """
    if text.lower().endswith(".json"):
        entries = _json_labels(to_path(text))
    else:
        parts = [part.rpartition("=") for part in text.split(",")]
        entries = [(name, label) for name, _, label in parts]
    names: dict[int, str] = {}
    problems = []
    for name, value in entries:
        label = int(value) if str(value).isdecimal() else -1
        if label < 0 or not str(name).strip():
            problems.append(f"expected name=id, got {name}={shown(value)}")
        elif label in names:
            problems.append(f"label {label} is named {names[label]} and {name}")
        names.setdefault(label, str(name).strip())
    names.pop(0, None)
    if len(set(names.values())) < len(names):
        problems.append("two labels have one name")
    if problems or not names:
        raise ConfigError("--classes", "; ".join(problems) or "names no label", "Write liver=1,tumor=2")
    return dict(sorted(names.items()))


def _json_labels(path: AnyPath) -> list[tuple[Any, Any]]:
    try:
        content = json.loads(read_bytes(path))
        labels = content["labels"]
        if not isinstance(labels, Mapping):
            raise TypeError
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        raise ConfigError("--classes", f"{path} is no JSON file with labels", 'Write "labels": {"liver": 1}') from None
    # The Decathlon writes {"1": "liver"}, nnU-Net {"liver": 1}.
    return [(value, key) if str(key).isdecimal() else (key, value) for key, value in labels.items()]
