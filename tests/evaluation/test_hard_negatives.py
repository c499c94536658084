import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxray.config.data import NegativesSpec, PatchesSpec
from voxray.evaluation.hard_negatives import choose_hard_negatives, count_to_add
from voxray.metrics.detection import Annotations
from voxray.store.added import NEGATIVES

NAMES = ["a", "b", "c"]
places = st.tuples(st.sampled_from(NAMES), *[st.integers(-8, 8)] * 3)
sized = st.lists(st.tuples(places, st.sampled_from([-1.0, 0.0, 3.0, 8.0])), max_size=5)
Place = tuple[str, int, int, int]


def annotations(rows: list[tuple[Place, float]]) -> Annotations:
    return Annotations(
        np.array([NAMES.index(place[0]) for place, _ in rows], np.int64),
        np.array([place[1:] for place, _ in rows], float).reshape(-1, 3),
        np.array([diameter for _, diameter in rows], float),
    )


def hits(place: Place, rows: list[tuple[Place, float]]) -> bool:
    radii = [(10 if diameter < 0 else diameter) / 2 for _, diameter in rows]
    return any(
        place[0] == other[0] and math.dist(place[1:], other[1:]) ** 2 < radius**2
        for (other, _), radius in zip(rows, radii, strict=True)
    )


@given(
    found=st.lists(st.tuples(places, st.sampled_from([0.1, 0.2, 0.5, 0.9])), max_size=30),
    nodules=sized,
    excluded=sized,
    listed=st.lists(st.tuples(places, st.integers(0, 1), st.sampled_from([0, 90])), max_size=5),
    count=st.integers(1, 8),
)
def test_the_most_probable_findings_that_hit_nothing_are_hard_negatives(
    found: list[tuple[Place, float]],
    nodules: list[tuple[Place, float]],
    excluded: list[tuple[Place, float]],
    listed: list[tuple[Place, int, int]],
    count: int,
) -> None:
    table = pa.Table.from_pylist(
        [dict(zip(NEGATIVES.names, (*place, 5.0, probability), strict=True)) for place, probability in found],
        schema=NEGATIVES,
    )
    train = pa.table(
        {
            "scan_id": pa.array([place[0] for place, *_ in listed], pa.string()),
            **{
                f"{axis}_mm": pa.array([place[1 + i] for place, *_ in listed], pa.float64())
                for i, axis in enumerate("xyz")
            },
            "label": pa.array([label for _, label, _ in listed], pa.int64()),
            "rotation": pa.array([rotation for *_, rotation in listed], pa.int16()),
        }
    )
    positives = [(place, -1.0) for place, label, rotation in listed if label and not rotation]
    false = [row for row in found if not hits(row[0], [*nodules, *excluded, *positives])]
    expected = sorted(false, key=lambda row: -row[1])[:count]
    chosen = choose_hard_negatives(table, (annotations(nodules), annotations(excluded)), train, pa.array(NAMES), count)
    assert [(*row.values(),) for row in chosen.to_pylist()] == [(*place, 5.0, value) for place, value in expected]


@pytest.mark.parametrize(("ratio", "expected"), [(5.0, 35), (0.01, 1), ("all", 1234)])
def test_as_many_hard_negatives_are_added_as_negatives_are_kept_of_the_list(ratio: float | str, expected: int) -> None:
    patches = PatchesSpec(size=(8, 8, 4), negatives_per_positive=NegativesSpec.model_validate({"train": ratio}))
    assert count_to_add(7, 1234, patches) == expected
