"""Loose scans → label maps beside each other in a folder."""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from voxray.errors import DataError, ScanError
from voxray.runs.segment import Segmenter, load_segmenter, segment_scan
from voxray.scans.read import OPENERS
from voxray.scans.write import write_nifti


def check_scans(paths: list[Path]) -> None:
    """Raise DataError where two scans would be written to one file."""
    names: dict[str, Path] = {}
    for path in paths:
        first = names.setdefault(plain_name(path), path)
        if first != path:
            problem = f"would be written to the same file as {first}"
            raise DataError(str(path), problem, "Predict them into two folders")


def plain_name(path: Path) -> str:
    """A scan's name without its suffix, ``.nii.gz`` as a whole."""
    name = path.name
    suffix = max((each for each in OPENERS if name.lower().endswith(each)), key=len, default="")
    return name[: len(name) - len(suffix)]


def predict_scan(segmenter: Segmenter, path: Path, out: Path, probabilities: bool) -> str:
    """Segment one scan and write it; returns what came of it, in words.

    ``NAME_seg.nii.gz`` holds the label map in the scan's own geometry, ``NAME_prob.nii.gz`` the probabilities.
    """
    try:
        labels, shares = segment_scan(segmenter, path)
    except ScanError as error:
        return f"left out: {error}"
    target = out / f"{plain_name(path)}_seg.nii.gz"
    write_nifti(target, labels)
    if probabilities:
        write_nifti(out / f"{plain_name(path)}_prob.nii.gz", shares)
    counts = torch.bincount(torch.from_numpy(labels.voxels.copy()).flatten().long(), minlength=len(segmenter.classes))
    millilitres = abs(float(torch.linalg.det(torch.from_numpy(labels.affine[:3, :3])))) / 1000
    named = zip(segmenter.classes[1:], counts[1:].tolist(), strict=True)
    return f"{target}: {', '.join(f'{name} {count * millilitres:.1f} ml' for name, count in named)}"


def predict_here(
    run: Path,
    paths: list[Path],
    out: Path,
    probabilities: bool,
    device: torch.device,
    show: Callable[[int, int, str], None],
) -> Iterator[tuple[Path, str]]:
    """Segment scans one after the other in this process."""
    segmenter = load_segmenter(run, device)
    for number, path in enumerate(paths, 1):
        yield path, predict_scan(segmenter, path, out, probabilities)
        show(number, len(paths), path.name)
