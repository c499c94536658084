"""The command that scores lists of candidates."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voxray.cli.options import path_argument
from voxray.cli.terminal import OUT, echo

if TYPE_CHECKING:
    from voxray.metrics.detection_score import DetectionScore


def score(
    lists: Annotated[
        list[Path],
        typer.Argument(
            help="CSV files of candidates: seriesuid, coordX, coordY, coordZ, probability.",
            parser=path_argument,
            show_default=False,
        ),
    ],
    truth: Annotated[
        Path,
        typer.Option("--truth", help="Nodules, such as annotations.csv.", parser=path_argument, show_default=False),
    ],
    excluded: Annotated[
        Path | None,
        typer.Option(
            "--excluded",
            help="Findings that count neither way, such as annotations_excluded.csv.",
            parser=path_argument,
            show_default=False,
        ),
    ] = None,
    series: Annotated[
        Path | None,
        typer.Option(
            "--series",
            help="All scans that count, such as seriesuids.csv; by default those of truth and lists.",
            parser=path_argument,
            show_default=False,
        ),
    ] = None,
    marks: Annotated[
        int | None,
        typer.Option("--marks", min=1, help="Count only so many candidates a scan, the most probable ones."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score candidates of any program as LUNA16 does: sensitivity at rates of false positives a scan, and CPM.

    Example: voxray score found.csv --truth annotations.csv --excluded annotations_excluded.csv --series seriesuids.csv
    """
    from voxray.stages.score import ScoreInputs
    from voxray.stages.score import score as score_lists

    result, notes = score_lists(ScoreInputs(lists, truth, excluded, series, marks))
    if as_json:
        sys.stdout.write(json.dumps(_content(result), indent=2) + "\n")
        sys.stderr.writelines(f"voxray: note: {note}\n" for note in notes)
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
