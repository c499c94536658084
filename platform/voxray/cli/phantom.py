"""``voxray phantom …``: synthetic data sets in public layouts."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from voxray.cli.terminal import echo, handle_errors
from voxray.models.shapes import parse_input

phantom = typer.Typer(no_args_is_help=True, help="Write a synthetic data set in a public layout.")

Folder = Annotated[Path, typer.Argument(help="Folder to write.", show_default=False)]
Seed = Annotated[int, typer.Option(min=0)]
Size = Annotated[str, typer.Option("--size", help="Voxels of a scan, x, y, z.")]


@phantom.command("luna16")
@handle_errors
def luna16(
    out: Folder,
    scans: Annotated[int, typer.Option(min=1)] = 24,
    seed: Seed = 0,
    matrix: Annotated[int, typer.Option(min=64, help="Pixels along a slice's side.")] = 512,
) -> None:
    """Chest CTs with nodules and vessels that look alike in one slice."""
    from voxray.phantom.luna16 import write_luna16

    _write(out, scans, "scans", lambda show: write_luna16(out, scans=scans, seed=seed, matrix=matrix, progress=show))


@phantom.command("decathlon")
@handle_errors
def decathlon(
    out: Folder, cases: Annotated[int, typer.Option(min=1)] = 8, seed: Seed = 0, size: Size = "240x240x155"
) -> None:
    """Brains of four MR channels with nested tumor parts, as a Decathlon task."""
    from voxray.phantom.decathlon import write_decathlon

    shape = _voxels(size)
    _write(out, cases, "cases", lambda show: write_decathlon(out, cases=cases, seed=seed, shape=shape, progress=show))


@phantom.command("mosmed")
@handle_errors
def mosmed(
    out: Folder,
    scans: Annotated[int, typer.Option(min=1)] = 20,
    seed: Seed = 0,
    matrix: Annotated[int, typer.Option(min=32, help="Pixels along a slice's side.")] = 512,
) -> None:
    """Chest CTs with clear lungs or ground glass, as the two folders of MosMedData."""
    from voxray.phantom.mosmed import write_mosmed

    _write(out, scans, "scans", lambda show: write_mosmed(out, scans=scans, seed=seed, matrix=matrix, progress=show))


@phantom.command("brats2020")
@handle_errors
def brats2020(
    out: Folder, patients: Annotated[int, typer.Option(min=1)] = 20, seed: Seed = 0, size: Size = "240x240x155"
) -> None:
    """Brains with gliomas of high and low grade in four MR sequences, as BraTS 2020."""
    from voxray.phantom.brats2020 import write_brats2020

    shape = _voxels(size)
    _write(
        out,
        patients,
        "patients",
        lambda show: write_brats2020(out, patients=patients, seed=seed, shape=shape, progress=show),
    )


def _voxels(size: str) -> tuple[int, int, int]:
    x, y, z = parse_input(f"1x{size}")[1:]
    return x, y, z


def _write(out: Path, number: int, things: str, write: Callable[[Callable[[int, int], None]], None]) -> None:
    from voxray.console.progress import progress

    with progress("phantom", things) as show:
        write(lambda done, total: show(done, total, ""))
    echo(f"phantom: {number} {things} → {out}")
