"""Which findings of a first round's network the second round trains on: the most probable false positives."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from voxray.config.data import PatchesSpec
from voxray.datasets.point_lists import number_points
from voxray.metrics.detection import Annotations, Candidates, match_candidates
from voxray.store.added import NEGATIVES

UNKNOWN_MM = -1.0  # diameter of a positive of the list


def count_to_add(positives: int, negatives: int, patches: PatchesSpec) -> int:
    """How many hard negatives join a training split: as many as it keeps of the list.

    That is `patches.negatives_per_positive` for each positive, or as many as there are where all are kept.
    """
    ratio = patches.negatives_per_positive.train
    return negatives if ratio == "all" else max(round(ratio * positives), 1)


def choose_hard_negatives(
    found: pa.Table, truth: tuple[Annotations, Annotations], train: pa.Table, scans: pa.Array, count: int
) -> pa.Table:
    """The most probable false positives among the findings of all training scans together.

    Parameters
    ----------
    found : pyarrow.Table
        Findings; schema `voxray.store.added.NEGATIVES`.
    truth : tuple of Annotations
        Nodules and excluded findings, whose scans are numbered as `scans` lists them.
    train : pyarrow.Table
        The index rows of the training split. What hits one of its positives, as a nodule of 10 mm, is none either.
    scans : pyarrow.Array
        Names of the training scans.
    count : int
        At most so many.

    Returns
    -------
    pyarrow.Table
        Schema `voxray.store.added.NEGATIVES`, the most probable first.
    """
    names = NEGATIVES.names
    of_scan, points, probabilities = number_points(found.select([*names[:4], "probability"]), scans)
    nodules, excluded = truth
    candidates = Candidates(of_scan, points, probabilities)
    false = match_candidates(candidates, _with_positives(nodules, train, scans), excluded).false_positive
    rows = np.flatnonzero(false)
    rows = rows[np.argsort(-probabilities[rows], kind="stable")][:count]
    return found.take(pa.array(rows)).cast(NEGATIVES)


def _with_positives(nodules: Annotations, train: pa.Table, scans: pa.Array) -> Annotations:
    listed = train.filter(pc.and_(pc.greater(train["label"], 0), pc.equal(train["rotation"], 0)))
    unknown = pa.array([UNKNOWN_MM] * listed.num_rows, pa.float64())
    listed = listed.select(["scan_id", "x_mm", "y_mm", "z_mm"]).append_column("diameter_mm", unknown)
    more = number_points(listed, scans)
    known = (nodules.scans, nodules.points_mm, nodules.diameters_mm)
    return Annotations(*(np.concatenate(pair) for pair in zip(known, more, strict=True)))
