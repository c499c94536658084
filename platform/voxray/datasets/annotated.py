"""What readers annotated in the scans of a data set, and the score of a list of candidates against it."""

import hashlib
import math
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from voxray.config.experiment import Experiment
from voxray.datasets.layouts import find_layout
from voxray.datasets.point_lists import number_points, read_annotations
from voxray.metrics.curves import Floats, Ints
from voxray.metrics.detection import Annotations, Candidates
from voxray.metrics.detection_score import score_candidates
from voxray.privacy import pseudonym
from voxray.runs.keys import digest
from voxray.storage.paths import AnyPath, exists, read_bytes


def is_annotated(experiment: Experiment) -> bool:
    """Whether the data set's folder has a list of the nodules of its scans."""
    lists = _lists(experiment)
    return bool(lists) and exists(lists[0])


def read_truth(experiment: Experiment, scans: pa.Array | pa.ChunkedArray) -> tuple[Annotations, Annotations]:
    """The nodules and the excluded findings of scans, which are numbered as `scans` lists them."""
    nodules, *excluded = _lists(experiment)
    key = experiment.privacy.read_key()
    other = [_annotations(path, scans, key) for path in excluded if exists(path)]
    none = Annotations(np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros(0))
    return _annotations(nodules, scans, key), next(iter(other), none)


def annotations_digest(experiment: Experiment) -> str | None:
    """A digest of the lists that detections are scored against; None where the folder has none."""
    if not is_annotated(experiment):
        return None
    content = [hashlib.sha256(read_bytes(path)).hexdigest() if exists(path) else "" for path in _lists(experiment)]
    return digest({"annotations": content})


def points_of(table: pa.Table) -> Floats:
    """World RAS of the rows of a table, (n, 3)."""
    return np.column_stack([np.asarray(table[f"{axis}_mm"].to_numpy(), np.float64) for axis in "xyz"])


def number_scans(table: pa.Table) -> tuple[pa.ChunkedArray, Ints]:
    """The scans of a table, each once, and the number of that of each row (n,)."""
    scans = table["scan_id"].unique()
    return scans, np.asarray(pc.index_in(table["scan_id"], value_set=scans).to_numpy(), np.int64)


def why_not_scored(experiment: Experiment) -> str:
    """Why the candidates of validation cannot be scored as a detection, in words; empty where they can be."""
    layout, kept = find_layout(experiment.data.layout), experiment.patches.negatives_per_positive.val
    if not layout.annotations or experiment.data.masks is not None:
        return "only candidates of the layout luna16 have it"
    if not is_annotated(experiment):
        return f"data.root holds no {layout.annotations[0]}"
    return "" if kept == "all" else f"validation lost candidates: patches.negatives_per_positive.val is {kept:g}"


def cpm_function(experiment: Experiment, rows: pa.Table) -> Callable[[Ints, Floats], float]:
    """The CPM of a split's candidates, as a function of numbers of rows (n,) and their probabilities (n,).

    Parameters
    ----------
    experiment : Experiment
        One whose candidates can be scored.
    rows : pyarrow.Table
        The patches of the split, all candidates of the list: `scan_id`, `x_mm`, `y_mm`, `z_mm` (world RAS). Each of its
        scans counts, also without a nodule.
    """
    scans, numbers = number_scans(rows)
    points, truth = points_of(rows), read_truth(experiment, scans)

    def cpm(chosen: Ints, probabilities: Floats) -> float:
        if not np.isfinite(probabilities).all():
            return math.nan
        candidates = Candidates(numbers[chosen], points[chosen], probabilities)
        return score_candidates(candidates, *truth, len(scans), resamples=0).cpm

    return cpm


def _lists(experiment: Experiment) -> list[AnyPath]:
    return [experiment.data_path / name for name in find_layout(experiment.data.layout).annotations]


def _annotations(path: AnyPath, scans: pa.Array | pa.ChunkedArray, key: bytes | None) -> Annotations:
    """Those of the scans, which are numbered as `scans` lists them; by their pseudonyms where there is a key."""
    table = read_annotations(path)
    if key is not None:
        hidden = [pseudonym(key, "scan", name) for name in table["scan_id"].to_pylist()]
        table = table.set_column(0, "scan_id", pa.array(hidden, pa.string()))
    return Annotations(*number_points(table, scans))
