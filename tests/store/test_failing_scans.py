"""Whatever fails within one scan concerns no other scan."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ingesting import ingest
from PIL import Image
from scenes import experiment, write_luna

from voxray.errors import DataError, WorkError
from voxray.executors.local import LocalExecutor
from voxray.stages.common import note_undefined
from voxray.stages.ingest import ingest as ingest_stage
from voxray.store import rows
from voxray.store.read import open_store
from voxray.training.fit import check_trainable

FAILURES = (MemoryError("Unable to allocate 1.8 TiB"), RecursionError(), KeyError("x"), OSError(5, "I/O error"))


@pytest.fixture
def luna_names(tmp_path: Path) -> list[str]:
    return write_luna(tmp_path / "luna", 6)


def fail_at(step: str, scan: str, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one step of the work on a scan raise an error."""
    opened: list[str] = []
    open_scan, work = rows.open_scan, getattr(rows, step)

    def recorded(path: Path, **keywords: Any) -> Any:
        opened.append(path.stem)
        return open_scan(path, **keywords)

    def failing(*arguments: Any, **keywords: Any) -> Any:
        if opened[-1] == scan:
            raise error
        return work(*arguments, **keywords)

    monkeypatch.setattr(rows, step, failing)
    monkeypatch.setattr(rows, "open_scan", recorded)


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("step", ["prepare_volume", "choose_boxes", "scan_statistics", "cut_patches", "patch_checksum"])
def test_a_scan_whose_work_fails_is_quarantined_with_the_reason(
    tmp_path: Path, luna_names: list[str], monkeypatch: pytest.MonkeyPatch, step: str, error: Exception
) -> None:
    fail_at(step, luna_names[2], error, monkeypatch)
    patches = {"negatives_per_positive": "all"}
    store = ingest(experiment(tmp_path / "luna", tmp_path / "run", patches=patches, store={"max_quarantined": 0.5}))
    (row,) = store.quarantine.to_pylist()
    assert (row["scan_id"], row["kind"], row["row"], row["samples"]) == (luna_names[2], "scan", None, 16)
    assert f"its patches cannot be cut: {type(error).__name__}" in row["reason"]
    assert str(tmp_path) not in row["reason"]
    assert len(store.index["scan_id"].unique()) == 5


def test_a_class_that_is_lost_with_its_scans_is_noted_and_training_says_what_helps(tmp_path: Path) -> None:
    root, out = tmp_path / "data", tmp_path / "run"
    root.mkdir()
    rng = np.random.default_rng(0)
    lines = ["path,label,split"]
    for number, split in enumerate(("train", "train", "train", "train", "val", "val", "test", "test")):
        Image.fromarray(rng.integers(0, 256, (9, 8), dtype=np.uint8)).save(root / f"{number}.png")
        lines.append(f"{number}.png,{'pos' if number % 2 else 'neg'},{split}")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    (root / "5.png").write_bytes(b"short")
    (tmp_path / "architecture.json").write_text('[{"type": "T", "activation": null}]')
    changes = {
        "data": {"layout": "table"},
        "patches": {"size": [8, 8], "pad_value": 0},
        "store": {"max_quarantined": 0.5},
    }
    spec = experiment(root, out, **changes)
    said: list[str] = []
    ingest_stage(spec, LocalExecutor(), said.append)
    assert [line for line in said if "no patch" in line] == [
        "note: split 'val' has no patch of class 'pos' left, so that it cannot be trained on"
    ]
    remedy = r"Replace the files of quarantined scans.* --repair\. Add scans or change seed .* new folder"
    with pytest.raises(DataError, match=rf"split 'val' has no patch of class 'pos'\. {remedy}"):
        check_trainable(open_store(spec.store_path))
    notes: list[str] = []
    metrics: dict[str, Any] = {"val": {"intervals": {"recall": [], "roc_auc": []}, "recall": None, "roc_auc": None}}
    note_undefined(metrics, open_store(spec.store_path), notes.append)
    assert notes == ["note: val: no patch of class 'pos', so that recall, ROC AUC are undefined"]


def test_storage_that_fails_is_no_fault_of_the_scan(
    tmp_path: Path, luna_names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at("prepare_volume", luna_names[2], WorkError("s3://bucket", "object storage failed"), monkeypatch)
    with pytest.raises(WorkError, match="object storage failed"):
        ingest(experiment(tmp_path / "luna", tmp_path / "run"))
