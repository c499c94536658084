from pathlib import Path

import pytest

from voxray.datasets.point_lists import read_annotations, read_candidates, read_series
from voxray.errors import DataError

HEADER = "seriesuid,coordX,coordY,coordZ,"


def written(folder: Path, text: str) -> Path:
    path = folder / "list.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_annotations_are_converted_from_lps_to_ras(tmp_path: Path) -> None:
    table = read_annotations(written(tmp_path, f"{HEADER}diameter_mm\n1.2,-3.5,4,-5.25,-1\n001,0,0,7,6.5\n"))
    assert table.to_pylist() == [
        {"scan_id": "1.2", "x_mm": 3.5, "y_mm": -4, "z_mm": -5.25, "diameter_mm": -1},
        {"scan_id": "001", "x_mm": 0, "y_mm": 0, "z_mm": 7, "diameter_mm": 6.5},
    ]


def test_candidates_may_have_more_columns_in_any_order(tmp_path: Path) -> None:
    text = "probability;diameter_mm;coordZ;coordY;coordX;seriesuid\n0.5;;3;2;1;a\n1e-3;NaN;3;2;1;a\n"
    table = read_candidates(written(tmp_path, text))
    assert table["probability"].to_pylist() == [0.5, 0.001]
    assert table.select(["x_mm", "y_mm", "z_mm"]).to_pylist() == [{"x_mm": -1, "y_mm": -2, "z_mm": 3}] * 2


@pytest.mark.parametrize("cell", ["", "nan"])
def test_a_point_may_lack_a_probability(tmp_path: Path, cell: str) -> None:
    table = read_candidates(written(tmp_path, f"{HEADER}probability\na,1,2,3,0.5\na,999,0,0,{cell}\n"))
    assert table["probability"].to_pylist() == [0.5, None]


@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_a_list_with_a_header_only_has_no_points(tmp_path: Path, end: str) -> None:
    assert read_candidates(written(tmp_path, f"{HEADER}probability{end}")).num_rows == 0
    assert read_annotations(written(tmp_path, f"{HEADER}diameter_mm{end}")).num_rows == 0


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "has no column 'seriesuid'"),
        (f"{HEADER}class\na,1,2,3,1\n", "has no column 'probability'"),
        (f"{HEADER}probability\na,1,2,3,0.5\nb,1,2,3,inf\n", "'probability': expected a number, got inf in line 3"),
        (f"{HEADER}probability\na,inf,2,3,0.5\n", "'coordX': expected a number, got inf in line 2"),
        (f"{HEADER}probability\na,1,,3,0.5\n", "'coordY': expected a number, got nan in line 2"),
        (f"{HEADER}probability\na,1,2,3,high\n", "'probability': expected numbers"),
        (f"{HEADER}probability\n,1,2,3,0.5\n", "'seriesuid' is empty in line 2"),
    ],
)
def test_what_is_no_point_with_a_probability_is_an_error(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        read_candidates(written(tmp_path, text))


@pytest.mark.parametrize("diameter", ["", "NaN", "inf"])
def test_a_nodule_needs_a_diameter(tmp_path: Path, diameter: str) -> None:
    with pytest.raises(DataError, match=r"list\.csv: column 'diameter_mm': expected a number, got (nan|inf) in line 2"):
        read_annotations(written(tmp_path, f"{HEADER}diameter_mm\na,1,2,3,{diameter}\n"))


def test_a_missing_list_is_an_error(tmp_path: Path) -> None:
    for read in (read_annotations, read_candidates, read_series):
        with pytest.raises(DataError, match=r"absent\.csv: no such file"):
            read(tmp_path / "absent.csv")


@pytest.mark.parametrize(
    "text", ["a\n007\n\na\n", "seriesuid\na\n007\na", "x;seriesuid\n1;a\n2; 007 \n3\n4;\n", '"a"\r\n"007"\r\n']
)
def test_series_are_named_with_or_without_a_header_each_once(tmp_path: Path, text: str) -> None:
    assert read_series(written(tmp_path, text)) == ["a", "007"]


@pytest.mark.parametrize("text", ["", "\n\n", "seriesuid\n", ",,\n"])
def test_a_list_without_series_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="has no rows"):
        read_series(written(tmp_path, text))
