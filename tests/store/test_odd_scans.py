import os
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from ingesting import ingest
from readers.nifti_files import nifti
from scenes import experiment

from voxray.config.experiment import Experiment
from voxray.errors import DataError


def in_unit(path: Path, spacing: float, unit: str) -> None:
    voxels = np.random.default_rng(list(path.name.encode())).integers(-900, 900, (12, 11, 10)).astype(np.int16)
    image = nibabel.Nifti1Image(voxels, np.diag([spacing, spacing, spacing, 1]))
    image.header.set_xyzt_units(unit)
    nibabel.save(image, path)


STRANGER = "NDims = 3\nDimSize = 9 9 9\nElementType = MET_UCHAR\nElementDataFile = /etc/passwd\n"
# How a scan becomes odd, and the reason in the quarantine.
ODD: dict[str, tuple[Callable[[Path], object], str]] = {
    "color.nii": (lambda path: path.write_bytes(nifti(datatype=128) + bytes(72)), "expected real numbers"),
    "complex.nii": (lambda path: path.write_bytes(nifti(datatype=32) + bytes(192)), "expected real numbers"),
    "meters.nii": (lambda path: in_unit(path, 1, "meter"), "a spacing of 0.01 to 50 mm, got 1000x1000x1000"),
    "microns.nii": (lambda path: in_unit(path, 1, "micron"), "a spacing of 0.01 to 50 mm, got 0.001x0.001x0.001"),
    "pipe.nii": (os.mkfifo, "expected a file, got a pipe"),
    "folder.nii": (Path.mkdir, "expected a file, got a folder"),
    "stranger.mhd": (lambda path: path.write_text(STRANGER), "names the file '/etc/passwd', expected one in its own"),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Twelve scans of 1 mm, of which one is given in meters, and the odd ones."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(12):
        in_unit(folder / f"{number:02d}.nii", *((0.001, "meter") if number == 0 else (1, "mm")))
    for name, (make, _) in ODD.items():
        make(folder / name)
    names = sorted(path.name for path in folder.iterdir())
    lines = ["path,label", *(f"{name},{number % 2}" for number, name in enumerate(names))]
    (folder / "manifest.csv").write_text("\n".join(lines))
    return folder


def spec_of(root: Path, out: Path, **patches: object) -> Experiment:
    return experiment(
        root,
        out,
        data={"layout": "table"},
        patches={"size": [8, 8, 4], "negatives_per_positive": "all", "oversample_rotations": [], **patches},
        store={"max_quarantined": 0.9},
    )


@pytest.mark.parametrize("changes", [{}, {"sampling": "grid"}, {"spacing_mm": [1, 1, 1]}])
def test_an_odd_scan_is_quarantined_with_its_reason_and_the_others_are_cut(
    root: Path, out: Path, changes: dict[str, object]
) -> None:
    store = ingest(spec_of(root, out, **changes))
    reasons = {row["path"]: row["reason"] for row in store.quarantine.to_pylist()}
    assert set(reasons) == set(ODD)
    for name, (_, words) in ODD.items():
        assert name in reasons[name]
        assert words in reasons[name]
    assert len(set(store.index["path"].to_pylist())) == 12


def test_another_spacing_can_be_allowed(root: Path, out: Path) -> None:
    store = ingest(spec_of(root, out, spacing_range_mm=[0.001, 2000]))
    assert {"meters.nii", "microns.nii"} <= set(store.index["path"].to_pylist())


@pytest.mark.parametrize("sampling", ["center", "grid"])
def test_a_wrong_spacing_never_asks_for_memory_without_end(root: Path, out: Path, sampling: str) -> None:
    patches = {"spacing_range_mm": [1e-6, 1e6], "spacing_mm": [0.2, 0.2, 0.2], "sampling": sampling}
    store = ingest(spec_of(root, out, **patches))
    (reason,) = [row["reason"] for row in store.quarantine.to_pylist() if row["path"] == "meters.nii"]
    assert "has a spacing of 1000 x 1000 x 1000 mm; resampled to 0.2 x 0.2 x 0.2 mm it would have" in reason


def test_a_data_set_of_odd_scans_alone_says_why(root: Path, out: Path) -> None:
    for path in root.glob("[0-9]*.nii"):
        path.unlink()
    with pytest.raises(DataError, match=r"can be used|can be read|cannot be used"):
        ingest(spec_of(root, out))
