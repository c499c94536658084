"""The command that scores lists of candidates, and masks."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from voxray.cli.options import path_argument
from voxray.cli.terminal import OUT, echo
from voxray.errors import ConfigError
from voxray.storage.paths import AnyPath

if TYPE_CHECKING:
    from voxray.metrics.detection_score import DetectionScore
    from voxray.stages.score_masks import MaskScore


def score(
    lists: Annotated[
        list[Path],
        typer.Argument(
            help="PRED TRUTH: two folders or files of masks. With --truth: CSV files of candidates with seriesuid, "
            "coordX, coordY, coordZ, probability.",
            parser=path_argument,
            show_default=False,
            metavar="PRED TRUTH | LISTS...",
        ),
    ],
    truth: Annotated[
        Path | None,
        typer.Option(
            "--truth", help="Candidates: nodules, such as annotations.csv.", parser=path_argument, show_default=False
        ),
    ] = None,
    excluded: Annotated[
        Path | None,
        typer.Option(
            "--excluded",
            help="Candidates: findings that count neither way, such as annotations_excluded.csv.",
            parser=path_argument,
            show_default=False,
        ),
    ] = None,
    series: Annotated[
        Path | None,
        typer.Option(
            "--series",
            help="Candidates: all scans that count, such as seriesuids.csv; by default those of truth and lists.",
            parser=path_argument,
            show_default=False,
        ),
    ] = None,
    marks: Annotated[
        int | None,
        typer.Option("--marks", min=1, help="Candidates: only so many of a scan count, the most probable ones."),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option("--classes", help="Masks: names of labels, liver=1,tumor=2 or dataset.json.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Masks: a folder for cases.csv, scores.json and scores.html.",
            parser=path_argument,
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score masks of any program: Dice, HD95, surface Dice, lesions; or candidates as LUNA16 does: FROC and CPM.

    Example: voxray score predictions/ labelsTs/ --out scores

    Example: voxray score found.csv --truth annotations.csv --excluded annotations_excluded.csv --series seriesuids.csv
    """
    of_lists = {"--excluded": excluded, "--series": series, "--marks": marks}
    of_masks = {"--classes": classes, "--out": out}
    wrong = [name for name, value in (of_lists if truth is None else of_masks).items() if value is not None]
    if wrong:
        what = "scores candidates and needs --truth" if truth is None else "scores masks, which take no --truth"
        raise ConfigError(", ".join(wrong), what, "See voxray score --help")
    if truth is None:
        _score_masks(lists, classes, out, as_json=as_json)
    else:
        _score_lists(lists, truth, excluded, series, marks, as_json=as_json)


def _score_masks(paths: Sequence[AnyPath], classes: str | None, out: AnyPath | None, *, as_json: bool) -> None:
    from voxray.planning.mask_pairs import read_class_names
    from voxray.stages.score_masks import score_masks, write_score

    if len(paths) != 2 or any(path.name.lower().endswith(".csv") for path in paths):
        given = ", ".join(map(str, paths))
        problem = f"expected two folders or files of masks, got {given}"
        raise ConfigError("score", problem, "Give PRED TRUTH, or lists of candidates with --truth")
    result, notes = score_masks(paths[0], paths[1], read_class_names(classes) if classes else None)
    page = None if out is None else write_score(out, result, notes)
    if as_json:
        _print_json(result.content(), notes)
        return
    _print_scores(result)
    for note in notes:
        echo(f"note: {note}")
    if page is not None:
        echo(f"score: {page}")


def _print_scores(result: "MaskScore") -> None:
    from rich.table import Table

    from voxray.reporting.scoring.page import score_rows
    from voxray.reporting.text.numbers import count

    table = Table("metric", "class", "value", "95 % interval", title=count(len(result.cases), "case"))
    for row in score_rows(result.content(), list(result.classes.values())):
        table.add_row(*map(escape, row))
    OUT.print(table)


def _print_json(content: dict[str, Any], notes: Sequence[str]) -> None:
    sys.stdout.write(json.dumps(content, indent=2) + "\n")
    sys.stderr.writelines(f"voxray: note: {note}\n" for note in notes)


def _score_lists(
    lists: Sequence[AnyPath],
    truth: AnyPath,
    excluded: AnyPath | None,
    series: AnyPath | None,
    marks: int | None,
    *,
    as_json: bool,
) -> None:
    from voxray.stages.score import ScoreInputs
    from voxray.stages.score import score as score_lists

    result, notes = score_lists(ScoreInputs(lists, truth, excluded, series, marks))
    if as_json:
        _print_json(_content(result), notes)
        return
    _print_table(result)
    for note in notes:
        echo(f"note: {note}")


def _content(result: "DetectionScore") -> dict[str, Any]:
    from voxray.metrics.compute import without_nan

    content = {
        "cpm": result.cpm,
        "cpm_interval": result.cpm_interval,
        "sensitivity_at": result.sensitivity_at,
        "scans": result.scans,
        "nodules": result.nodules,
        "candidates": result.candidates,
        "dropped_as_excluded": result.dropped_as_excluded,
    }
    return without_nan(content)


def _print_table(result: "DetectionScore") -> None:
    from rich.table import Table

    from voxray.reporting.text.numbers import decimals, interval_text

    def interval(ends: tuple[float, float] | None) -> str:
        return interval_text(*ends) if ends else decimals(None)

    table = Table("false positives a scan", "sensitivity", "95 % interval", title=f"FROC of {result.scans:,} scans")
    for rate, value in result.sensitivity_at.items():
        table.add_row(rate, decimals(value), interval(result.sensitivity_intervals[rate]))
    table.add_section()
    table.add_row("CPM, their mean", decimals(result.cpm), interval(result.cpm_interval))
    OUT.print(table)
    matches = result.matches
    echo(f"nodules     {matches.found.sum():,} of {result.nodules:,} are hit by a candidate")
    dropped = f"{result.dropped_as_excluded:,} dropped as excluded, {matches.false_positive.sum():,} false positives"
    echo(f"candidates  {result.candidates:,}, {result.candidates / result.scans:,.1f} a scan: {dropped}")
