import json
import os
from pathlib import Path

import pytest

from voxray.cli.app import main

HEADER = "seriesuid,coordX,coordY,coordZ,"


def voxray(*words: object) -> int:
    try:
        main([str(word) for word in words])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture
def lists(tmp_path: Path) -> tuple[Path, ...]:
    """Candidates, truth, excluded findings and series of four scans, one without candidates."""
    found, truth, excluded, series = (tmp_path / f"{name}.csv" for name in ("found", "truth", "excluded", "series"))
    found.write_text(f"{HEADER}probability\na,1,0,0,0.9\na,50,0,0,0.8\nb,1,0,0,0.7\nc,9,9,9,0.95\nd,0,0,0,0.5\n")
    truth.write_text(f"{HEADER}diameter_mm\na,0,0,0,6\nb,0,0,0,6\n")
    excluded.write_text(f"{HEADER}diameter_mm\nc,9,9,8,-1\n")
    series.write_text("a\nb\nc\ne\n")
    return found, truth, excluded, series


def test_score_prints_a_table_and_notes(lists: tuple[Path, ...], capsys: pytest.CaptureFixture[str]) -> None:
    found, truth, excluded, series = lists
    assert voxray("score", found, "--truth", truth, "--excluded", excluded, "--series", series) == 0
    printed = capsys.readouterr().out
    assert "FROC of 4 scans" in printed
    assert "2 of 2 are hit by a candidate" in printed
    assert "4, 1.0 a scan: 1 dropped as excluded, 1 false positives" in printed
    assert "note: 1 series of the lists are not among those of --series: 1 candidates do not count" in printed


def test_score_prints_json_alone_and_notes_elsewhere(
    lists: tuple[Path, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    found, truth, excluded, series = lists
    assert voxray("score", found, "--truth", truth, "--excluded", excluded, "--series", series, "--json") == 0
    out, notes = capsys.readouterr()
    # The second nodule is found after the one false positive in 4 scans; the curve is vertical at 1/4.
    sensitivity = {"0.125": 0.5, "0.25": 1.0, "0.5": 1.0, "1": 1.0, "2": 1.0, "4": 1.0, "8": 1.0}
    assert json.loads(out) == {
        "cpm": pytest.approx(6.5 / 7),
        "cpm_interval": None,
        "sensitivity_at": sensitivity,
        "scans": 4,
        "nodules": 2,
        "candidates": 4,
        "dropped_as_excluded": 1,
    }
    assert "voxray: note: 1 of 4 scans have no candidate\n" in notes


def test_undefined_values_are_null(lists: tuple[Path, ...], capsys: pytest.CaptureFixture[str]) -> None:
    found, truth, *_ = lists
    truth.write_text(f"{HEADER}diameter_mm\n")
    assert voxray("score", found, "--truth", truth, "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["cpm"], set(content["sensitivity_at"].values())) == (None, {None})
    assert voxray("score", found, "--truth", truth) == 0


def test_a_list_may_come_from_a_pipe(lists: tuple[Path, ...], capsys: pytest.CaptureFixture[str]) -> None:
    found, truth, *_ = lists
    end, start = os.pipe()
    os.write(start, found.read_bytes())
    os.close(start)
    assert voxray("score", f"/dev/fd/{end}", "--truth", truth, "--json") == 0
    os.close(end)
    piped = capsys.readouterr().out
    assert voxray("score", found, "--truth", truth, "--json") == 0
    assert json.loads(piped) == json.loads(capsys.readouterr().out)


def test_a_bad_list_and_a_bad_option_are_one_line_and_exit_code_2(
    lists: tuple[Path, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    found, truth, *_ = lists
    found.write_text(f"{HEADER}probability\na,1,0,0,inf\n")
    assert voxray("score", found, "--truth", truth) == 2
    assert "found.csv: column 'probability': expected a number, got inf in line 2." in capsys.readouterr().err
    assert voxray("score", found) == 2
    assert voxray("score", found, "--truth", truth, "--marks", "0") == 2
