"""From lists of candidates to a score, with notes on what looks like a mistake."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from voxray.errors import DataError
from voxray.metrics.detection_score import DetectionScore
from voxray.stages.score import ScoreInputs, score

Rows = Iterable[tuple[str, float, float, float, float]]
SCANS = [f"scan{number:02}" for number in range(20)]
RNG = np.random.default_rng(0)
# Two nodules a scan, with coordinates as those of real scans: negative ones too.
NODULES = [(name, *RNG.uniform((-90, -90, -300), (90, 90, -50)).round(2), 8.0) for name in SCANS for _ in range(2)]
FOUND = [(name, x + 1, y, z - 1, 0.9) for name, x, y, z, _ in NODULES[:30]]
OTHERS = [(name, x + 40, y, z, 0.1) for name, x, y, z, _ in NODULES[:30]]


def write(path: Path, value: str, rows: Rows) -> Path:
    lines = [f"seriesuid,coordX,coordY,coordZ,{value}", *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def scored(folder: Path, found: Rows, nodules: Rows = NODULES, **more: object) -> tuple[DetectionScore, list[str]]:
    lists = [write(folder / "found.csv", "probability", found)]
    truth = write(folder / "truth.csv", "diameter_mm", nodules)
    return score(ScoreInputs(lists, truth, **more))  # type: ignore[arg-type]


def test_lists_are_scored_in_lps_and_nothing_is_noted_where_nothing_is_odd(tmp_path: Path) -> None:
    series = tmp_path / "series.csv"
    series.write_text("\n".join(SCANS[:15]))
    truth = write(tmp_path / "truth.csv", "diameter_mm", NODULES[:30])
    excluded = write(tmp_path / "excluded.csv", "diameter_mm", [(*OTHERS[0][:4], -1)])
    lists = [
        write(tmp_path / "a.csv", "probability", FOUND[:20] + OTHERS[:20]),
        write(tmp_path / "b.csv", "probability", FOUND[20:] + OTHERS[20:]),
    ]
    result, notes = score(ScoreInputs(lists, truth, excluded, series))
    assert (result.cpm, result.scans, result.nodules, result.candidates) == (1.0, 15, 30, 60)
    assert (result.dropped_as_excluded, result.matches.false_positive.sum()) == (1, 29)
    assert notes == []


def test_scans_are_those_of_truth_and_lists_unless_they_are_named(tmp_path: Path) -> None:
    extra = ("elsewhere", 0, 0, 0, 0.5)
    result, notes = scored(tmp_path, [*FOUND, extra])
    assert result.scans == 21
    assert notes == ["5 of 21 scans have no candidate"]
    (tmp_path / "series.csv").write_text("\n".join([*SCANS[2:], "empty"]))
    result, notes = scored(tmp_path, [*FOUND, extra], series=tmp_path / "series.csv")
    assert (result.scans, result.nodules, result.candidates) == (19, 36, 26)
    assert notes == [
        "3 series of the lists are not among those of --series: 5 candidates do not count",
        "2 series of truth.csv are not among those of --series: 4 nodules do not count",
        "6 of 19 scans have no candidate",
    ]


def test_an_excluded_list_names_no_scan_that_counts(tmp_path: Path) -> None:
    excluded = write(tmp_path / "excluded.csv", "diameter_mm", [("elsewhere", 0, 0, 0, -1)])
    result, notes = scored(tmp_path, FOUND, NODULES[:30], excluded=excluded)
    assert result.scans == 15
    assert notes == [
        "1 series of excluded.csv are not among those of the truth and the lists: 1 excluded findings do not count"
    ]


def test_at_most_so_many_marks_of_a_scan_count(tmp_path: Path) -> None:
    result, _ = scored(tmp_path, FOUND + OTHERS, marks_per_scan=2)
    assert (result.candidates, result.matches.false_positive.sum()) == (30, 0)


def test_what_counts_twice_or_never_is_noted(tmp_path: Path) -> None:
    again = write(tmp_path / "again.csv", "probability", FOUND[:1])
    empty = write(tmp_path / "empty.csv", "probability", [])
    truth = write(tmp_path / "truth.csv", "diameter_mm", [*NODULES, *NODULES[:1], ("scan00", 0, 0, 0, 0)])
    lists = [write(tmp_path / "found.csv", "probability", FOUND), again, empty]
    result, notes = score(ScoreInputs(lists, truth))
    assert (result.candidates, result.nodules) == (31, 42)
    assert notes == [
        "5 of 20 scans have no candidate",
        "1 of 3 lists have no rows, such as empty.csv; --series can name their scans, so that they count",
        "1 series are in several lists, such as scan00: the candidates of all lists count",
        "1 candidates repeat a point of their series: each counts",
        "1 nodules of truth.csv have a diameter of 0: no candidate hits them",
        "1 nodules of truth.csv repeat a point of their series: each counts",
    ]


@pytest.mark.parametrize(
    ("convert", "note"),
    [
        (lambda x, y, z: (-x, -y, z), "the coordinates seem to be in RAS: as they are they hit "),
        (lambda x, y, z: (z, y, x), "the coordinates seem to be in the order z, y, x: as they are they hit "),
        (lambda x, y, z: ((x + 200) / 0.7, (y + 200) / 0.7, (z + 400) / 2), "no coordinate of the candidates is neg"),
    ],
)
def test_coordinates_of_another_convention_are_noted(
    tmp_path: Path, convert: Callable[..., tuple[float, float, float]], note: str
) -> None:
    result, notes = scored(tmp_path, [(name, *convert(x, y, z), p) for name, x, y, z, p in FOUND + OTHERS])
    assert result.cpm < 0.05
    assert [line for line in notes if line.startswith(note)] == notes[1:]


def test_a_poor_list_in_the_right_coordinates_is_not_suspected(tmp_path: Path) -> None:
    _, notes = scored(tmp_path, FOUND[:3] + OTHERS)
    assert notes == ["5 of 20 scans have no candidate"]


def test_points_without_a_probability_are_skipped_but_their_scan_counts(tmp_path: Path) -> None:
    found = write(tmp_path / "found.csv", "probability", FOUND)
    outside = [(name, 999.0, 0.0, 0.0, "") for name in ("scan00", "elsewhere")]
    more = write(tmp_path / "more.csv", "probability", outside)  # type: ignore[arg-type]
    truth = write(tmp_path / "truth.csv", "diameter_mm", NODULES)
    result, notes = score(ScoreInputs([found, more], truth))
    assert (result.candidates, result.scans, result.matches.false_positive.sum()) == (30, 21, 0)
    assert "2 candidates without a probability: skipped" in notes


def test_few_or_no_nodules_are_noted(tmp_path: Path) -> None:
    result, notes = scored(tmp_path, FOUND[:10], NODULES[:10])
    assert (result.cpm, result.cpm_interval) == (1, None)
    assert notes == ["fewer than 15 scans have nodules, too few for intervals"]
    result, notes = scored(tmp_path, FOUND[:10], [])
    assert np.isnan(result.cpm)
    assert notes == ["these scans have no nodules, so that sensitivity is undefined"]


def test_nothing_to_score_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"truth\.csv: neither the truth nor a list names a scan"):
        scored(tmp_path, [], [])
