"""``voxray phantom …``: synthetic data sets in public layouts."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from voxray.cli.terminal import echo

Folder = Annotated[Path, typer.Argument(help="Folder to write.", show_default=False)]
Seed = Annotated[int, typer.Option(min=0)]
Size = Annotated[str, typer.Option("--size", help="Voxels of a scan, x, y, z.")]


def luna16(
    out: Folder,
    scans: Annotated[int, typer.Option(min=1)] = 24,
    seed: Seed = 0,
    matrix: Annotated[int, typer.Option(min=64, help="Pixels along a slice's side.")] = 512,
) -> None:
    """Write chest CTs with nodules and vessels that look alike in one slice.

    Example: voxray phantom luna16 scans --scans 24 --matrix 256
    """
    from voxray.phantom.luna16 import write_luna16

    _write(out, scans, "scans", lambda show: write_luna16(out, scans=scans, seed=seed, matrix=matrix, progress=show))


def decathlon(
    out: Folder, cases: Annotated[int, typer.Option(min=1)] = 8, seed: Seed = 0, size: Size = "240x240x155"
) -> None:
    """Write brains of four MR channels with nested tumor parts, as a task of the Decathlon.

    Example: voxray phantom decathlon scans --cases 8 --size 64x64x48
    """
    from voxray.phantom.decathlon import write_decathlon

    shape = _voxels(size)
    _write(out, cases, "cases", lambda show: write_decathlon(out, cases=cases, seed=seed, shape=shape, progress=show))


def mosmed(
    out: Folder,
    scans: Annotated[int, typer.Option(min=1)] = 20,
    seed: Seed = 0,
    matrix: Annotated[int, typer.Option(min=32, help="Pixels along a slice's side.")] = 512,
) -> None:
    """Write chest CTs with clear lungs or ground glass, as the two folders of MosMedData.

    Example: voxray phantom mosmed scans --scans 20 --matrix 128
    """
    from voxray.phantom.mosmed import write_mosmed

    _write(out, scans, "scans", lambda show: write_mosmed(out, scans=scans, seed=seed, matrix=matrix, progress=show))


def brats2020(
    out: Folder, patients: Annotated[int, typer.Option(min=1)] = 20, seed: Seed = 0, size: Size = "240x240x155"
) -> None:
    """Write brains with gliomas of high and low grade in four MR sequences, as BraTS 2020.

    Example: voxray phantom brats2020 scans --patients 16 --size 64x64x48
    """
    from voxray.phantom.brats2020 import write_brats2020

    _write(
        out,
        patients,
        "patients",
        lambda show: write_brats2020(out, patients=patients, seed=seed, shape=_voxels(size), progress=show),
    )


COMMANDS = (luna16, decathlon, mosmed, brats2020)


def _voxels(size: str) -> tuple[int, int, int]:
    from voxray.models.shapes import parse_input

    x, y, z = parse_input(f"1x{size}")[1:]
    return x, y, z


def _write(out: Path, number: int, things: str, write: Callable[[Callable[[int, int], None]], None]) -> None:
    from voxray.console.progress import progress

    with progress("phantom", things) as on_progress:
        write(lambda done, total: on_progress(done, total, ""))
    echo(f"phantom: {number} {things} → {out}")
