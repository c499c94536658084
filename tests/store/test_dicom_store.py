"""A folder of DICOM series, good and bad, to a finished store."""

from pathlib import Path

import numpy as np
import pytest
from dicom_scenes import image, save, slices, stored_voxels, write_series
from scenes import experiment

from voxray.executors.local import LocalExecutor
from voxray.stages.ingest import ingest
from voxray.store.read import open_store


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Eight good series and one of each bad kind, all labeled by folder."""
    root = tmp_path / "data"
    for number in range(8):
        write_series(root / f"good{number}", slices(stored_voxels(number), PatientID=f"P{number}"))
    write_series(root / "gap", [each for number, each in enumerate(slices(stored_voxels(20))) if number != 3])
    tilt = slices(stored_voxels(21))
    for number, each in enumerate(tilt):
        x, y, z = map(float, each.ImagePositionPatient)
        each.ImagePositionPatient = [x, y + 0.5 * number, z]
    write_series(root / "tilt", tilt)
    twice = slices(stored_voxels(22))
    twice[3].ImagePositionPatient = twice[2].ImagePositionPatient
    write_series(root / "twice", twice)
    cut = write_series(root / "cut", slices(stored_voxels(24)))[2]
    cut.write_bytes(cut.read_bytes()[:-100])
    save(image(stored_voxels()[0], "1.2.840.10008.5.1.4.1.1.7"), root / "capture" / "one.dcm")
    folders = sorted(path.name for path in root.iterdir())
    lines = [f"{name},{'ill' if name < 'good4' else 'well'}" for name in folders if name != "capture"]
    (root / "labels.csv").write_text("\n".join(["folder,label", *lines]) + "\n")
    return root


def test_bad_series_are_named_and_the_others_are_ingested(mixed: Path, out: Path) -> None:
    patches = {"size": [8, 8, 4], "negatives_per_positive": "all", "oversample_rotations": []}
    spec = experiment(
        mixed, out, data={"layout": "dicom", "root": str(mixed)}, patches=patches, store={"max_quarantined": 0.5}
    )
    said: list[str] = []
    ingest(spec, LocalExecutor(), said.append, verify=True)
    store = open_store(spec.store_path)
    reasons = {row["path"]: row["reason"] for row in store.quarantine.to_pylist()}
    assert set(store.index["scan_id"].to_pylist()) == {f"good{number}" for number in range(8)}
    assert "lacks 1 slice, after" in reasons["gap"]
    assert "1 of 7 slices have the position of another one" in reasons["twice"]
    assert "gantry tilt" in reasons["tilt"]
    assert "is cut off: it holds 140 of 240 bytes" in reasons["cut"]
    assert "a secondary capture" in reasons["capture/one.dcm"]
    for row in store.index.to_pylist():
        patch = store.read_patches(row["split"], np.array([row["slot"]]))[0]
        assert patch.dtype == np.int16
        assert patch.shape == (1, 8, 8, 4)
    assert any("quarantined: gap: lacks" in line for line in said)
