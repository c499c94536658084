"""Whatever fails within one scan concerns no other scan."""

from pathlib import Path
from typing import Any

import pytest
from ingesting import ingest
from scenes import experiment, write_luna

from voxray.errors import WorkError
from voxray.store import rows

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


def test_storage_that_fails_is_no_fault_of_the_scan(
    tmp_path: Path, luna_names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at("prepare_volume", luna_names[2], WorkError("s3://bucket", "object storage failed"), monkeypatch)
    with pytest.raises(WorkError, match="object storage failed"):
        ingest(experiment(tmp_path / "luna", tmp_path / "run"))
