"""Scans that change in place are found; files that are only touched or copied change nothing."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from dicom_scenes import save, slices, stored_voxels, write_series
from ingesting import contents
from s3_server import S3
from scenes import SMALL_UNET, experiment, write_luna

from voxray.config.experiment import Experiment
from voxray.errors import NotReadyError, StoreError
from voxray.executors.local import LocalExecutor
from voxray.executors.ray.executor import RayExecutor
from voxray.phantom.decathlon import write_decathlon
from voxray.runs.folder import run_folder
from voxray.stages.evaluate import evaluate
from voxray.stages.ingest import ingest
from voxray.stages.pipeline import run
from voxray.stages.report import report
from voxray.stages.train import train
from voxray.store.layout import INDEX_FILE, SOURCES_FILE
from voxray.store.read import open_store
from voxray.store.sources import States, find_states, read_sources
from voxray.store.write import write_shard


def ingested(spec: Experiment) -> list[str]:
    """Ingest; what it says."""
    said: list[str] = []
    ingest(spec, LocalExecutor(), said.append)
    return said


def touch(root: Path) -> None:
    for path in root.rglob("*"):
        if path.is_file():
            status = path.stat()
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 5_000_000_000))


def raw_of(root: Path, name: str) -> Path:
    return next(root.glob(f"subset*/{name}.raw"))


def brighten(raw: Path) -> None:
    """Add 150 HU to all voxels."""
    raw.write_bytes((np.frombuffer(raw.read_bytes(), np.int16) + np.int16(150)).tobytes())


def move(raw: Path) -> None:
    """Move the origin in the header by a voxel."""
    header = raw.with_suffix(".mhd")
    header.write_text(header.read_text().replace("Offset = -12 8 -90", "Offset = -12.7 8 -90"))


@pytest.fixture
def scans(tmp_path: Path) -> tuple[Path, list[str]]:
    root = tmp_path / "luna"
    return root, write_luna(root, 8, bright=900)


@pytest.mark.parametrize("change", [brighten, move])
def test_a_scan_that_changed_is_refused_until_told(
    scans: tuple[Path, list[str]], out: Path, change: Callable[[Path], None]
) -> None:
    root, names = scans
    spec = experiment(root, out)
    ingested(spec)
    before = contents(spec.store_path)
    change(raw_of(root, names[3]))
    touch(root / "subset5")
    for _ in range(2):
        with pytest.raises(
            StoreError, match=rf"1 of 8 scans have changed since they were read: {names[3]}\. .*--repair"
        ):
            ingested(spec)
        with pytest.raises(StoreError, match="1 of 8 scans have changed"):
            run(spec, LocalExecutor(), lambda line: None)
    assert contents(spec.store_path) == before


def test_files_that_were_touched_are_compared_once(scans: tuple[Path, list[str]], out: Path) -> None:
    root, _ = scans
    spec = experiment(root, out)
    ingested(spec)
    before = contents(spec.store_path)
    touch(root)
    assert any(
        "files of 8 scans have other times or sizes, their patches are the same" in line for line in ingested(spec)
    )
    after = contents(spec.store_path)
    assert {name for name in after if after[name] != before[name]} == {SOURCES_FILE}
    assert not any("other times" in line for line in ingested(spec))
    assert contents(spec.store_path) == after


def test_nothing_is_cut_again_where_no_file_changed(
    scans: tuple[Path, list[str]], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, _ = scans
    spec = experiment(root, out)
    ingested(spec)
    monkeypatch.setattr(LocalExecutor, "cut_digests", lambda *_: pytest.fail("cut again"))
    ingested(spec)
    # A data set that was moved with its times is the same.
    root.rename(root.with_name("elsewhere"))
    ingested(experiment(root.with_name("elsewhere"), out))


def interrupted(spec: Experiment, monkeypatch: pytest.MonkeyPatch, shards: int) -> None:
    """An ingest that is killed after some shards."""

    def some(executor: LocalExecutor, path: Any, root: Any, keys: Any) -> Any:
        for split, shard in keys[:shards]:
            yield write_shard(path, root, split, shard)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LocalExecutor, "write_shards", some)
        with pytest.raises(KeyboardInterrupt):
            ingested(spec)


def test_an_ingest_does_not_go_on_with_scans_that_changed_in_the_meantime(
    scans: tuple[Path, list[str]], out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, names = scans
    spec = experiment(root, out)
    interrupted(spec, monkeypatch, 2)
    for name in names:
        brighten(raw_of(root, name))
    with pytest.raises(StoreError, match=r"[1-7] of 8 scans have changed since they were read"):
        ingested(spec)
    assert not (spec.store_path / INDEX_FILE).exists()


def test_an_ingest_goes_on_with_scans_that_were_touched_or_not_read_yet(
    scans: tuple[Path, list[str]], out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, names = scans
    spec = experiment(root, out)
    interrupted(spec, monkeypatch, 0)
    brighten(raw_of(root, names[0]))
    interrupted(spec, monkeypatch, 2)
    touch(root)
    ingested(spec)
    whole = experiment(root, out, store={"path": str(tmp_path / "whole")})
    ingested(whole)
    assert contents(spec.store_path).keys() == contents(whole.store_path).keys()
    differ = {
        name for name, content in contents(spec.store_path).items() if contents(whole.store_path)[name] != content
    }
    assert differ <= {SOURCES_FILE}


def test_a_scan_that_changes_while_it_is_ingested_is_found_before_the_store_is_finished(
    scans: tuple[Path, list[str]], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, names = scans
    spec = experiment(root, out)
    write = LocalExecutor.write_shards

    def change_at_the_end(*arguments: Any) -> Any:
        yield from write(*arguments)
        brighten(raw_of(root, names[1]))

    monkeypatch.setattr(LocalExecutor, "write_shards", change_at_the_end)
    with pytest.raises(StoreError, match=f"1 of 8 scans have changed since they were read: {names[1]}"):
        ingested(spec)
    assert not (spec.store_path / INDEX_FILE).exists()


def test_a_scan_that_could_be_read_only_later_has_changed(scans: tuple[Path, list[str]], out: Path) -> None:
    root, names = scans
    raw = raw_of(root, names[2])
    voxels = raw.read_bytes()
    raw.unlink()
    spec = experiment(root, out, store={"max_quarantined": 0.5})
    ingested(spec)
    touch(root)
    ingested(spec)
    raw.write_bytes(voxels)
    with pytest.raises(StoreError, match=f"1 of 8 scans have changed since they were read: {names[2]}"):
        ingested(spec)
    assert open_store(spec.store_path).quarantine.num_rows > 0
    ingest(spec, LocalExecutor(), lambda line: None, repair=True)
    store = open_store(spec.store_path)
    assert store.quarantine.num_rows == 0
    assert names[2] in store.index["scan_id"].to_pylist()


def test_a_slice_that_is_replaced_or_added_changes_its_series(out: Path, tmp_path: Path) -> None:
    root = tmp_path / "dicom"
    files = [write_series(root / f"s{number}", slices(stored_voxels(number))) for number in range(8)]
    lines = [f"s{number},{('well', 'ill')[number % 2]}" for number in range(8)]
    (root / "labels.csv").write_text("\n".join(["folder,label", *lines]) + "\n")
    patches = {"size": [8, 8, 4], "negatives_per_positive": "all", "oversample_rotations": []}
    spec = experiment(root, out, data={"layout": "dicom"}, patches=patches)
    ingested(spec)
    assert {state.files for state in sources_of(spec).values()} == {7}
    # A file that is no slice is looked at, and changes nothing.
    (root / "s1" / "notes.txt").write_text("seen")
    assert any("files of 1 scan have other times or sizes" in line for line in ingested(spec))
    middle = files[2][3]
    dataset = pydicom.dcmread(middle)
    dataset.PixelData = bytes(reversed(dataset.PixelData))
    save(dataset, middle)
    with pytest.raises(StoreError, match="1 of 8 scans have changed since they were read: s2"):
        ingested(spec)


def sources_of(spec: Experiment) -> States:
    sources = read_sources(spec.store_path)
    assert sources is not None
    return sources.states


def segmentation(root: Path, out: Path) -> Experiment:
    (out.parent / "architecture.json").write_text(json.dumps(SMALL_UNET))
    return experiment(
        root,
        out,
        data={"layout": "decathlon"},
        patches={"size": [24, 24, 12], "sampling": "grid", "oversample_rotations": [], "pad_value": 0},
        store={"dtype": "float32", "chunk_bytes": 2**18, "shard_bytes": 2**20},
        training={"epochs": 1, "batch_size": 4, "loss": "dice", "monitor": "dice"},
    )


def rewrite(path: Path, change: Callable[[Any], Any], level: int = 1) -> None:
    """Write a NIfTI file again with other voxels, and another compression."""
    scan = nibabel.load(path)
    voxels = change(np.asarray(scan.dataobj))
    plain = nibabel.Nifti1Image(voxels, scan.affine, scan.header).to_bytes()
    path.write_bytes(gzip.compress(plain, level))


def test_an_evaluation_reads_no_scan_that_changed(out: Path, tmp_path: Path) -> None:
    root = tmp_path / "brains"
    write_decathlon(root, cases=6, seed=1, shape=(40, 36, 24))
    spec = segmentation(root, out)
    ingested(spec)
    train(spec, LocalExecutor(), lambda line: None)
    said: list[str] = []
    tested = sorted(set(open_store(spec.store_path).rows("test")["scan_id"].to_pylist()))
    image, mask = (next((root / folder).glob(f"{tested[0]}*")) for folder in ("imagesTr", "labelsTr"))
    kept = mask.read_bytes()
    rewrite(mask, lambda voxels: np.roll(voxels, 3, 0))
    with pytest.raises(StoreError, match=f"1 of 6 scans have changed since they were read: {tested[0]}"):
        evaluate(spec, LocalExecutor(), said.append)
    assert not run_folder(spec).metrics.exists()
    mask.write_bytes(kept)
    # The same voxels, compressed in another way.
    rewrite(image, lambda voxels: voxels)
    evaluate(spec, LocalExecutor(), said.append)
    assert any("the files of 1 scan have other times or sizes" in line for line in said)
    rewrite(image, lambda voxels: voxels + 1)
    with pytest.raises(StoreError, match=f"1 of 6 scans have changed since they were read: {tested[0]}"):
        report(spec, said.append)
    with pytest.raises(StoreError, match=f"1 of 6 scans have changed since they were read: {tested[0]}"):
        evaluate(spec, LocalExecutor(), said.append)
    # A scan that is lost is a note on the page.
    image.unlink()
    report(spec, said.append)
    assert "no such file" in run_folder(spec).report.read_text()
    # Without the data set, an evaluation that is finished stands.
    root.rename(tmp_path / "gone")
    evaluate(spec, LocalExecutor(), said.append)
    report(spec, said.append)
    assert any("finished earlier, reused" in line for line in said)


def test_pseudonyms_are_all_that_a_private_store_says_of_its_scans(
    scans: tuple[Path, list[str]], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, names = scans
    monkeypatch.setenv("SOME_KEY", "0123456789abcdef" * 4)
    spec = experiment(root, out, privacy={"key_env": "SOME_KEY"})
    ingested(spec)
    touch(root)
    assert any("files of 8 scans have other times" in line for line in ingested(spec))
    content = (spec.store_path / SOURCES_FILE).read_bytes()
    assert not any(secret.encode() in content for secret in (*names, str(root), "subset"))
    brighten(raw_of(root, names[4]))
    with pytest.raises(StoreError, match=r"1 of 8 scans have changed since they were read: [0-9a-f]{16}\.") as refusal:
        ingested(spec)
    assert not any(name in str(refusal.value) for name in names)


def test_object_storage_is_listed_and_its_etags_are_compared(s3: S3, luna: Path, out: Path) -> None:
    root = s3.put_folder(luna)
    spec = experiment(root, out)
    ingested(spec)
    s3.requests.clear()
    ingested(spec)
    assert not s3.asked("HEAD", ".raw")
    assert not s3.asked("GET", ".raw")
    # Written again with the same content, an object has the same ETag.
    raw = sorted(root.glob("subset*/*.raw"))[2]
    content = raw.read_bytes()
    raw.write_bytes(content)
    assert not any("other times" in line for line in ingested(spec))
    raw.write_bytes((np.frombuffer(content, np.int16) + np.int16(150)).tobytes())
    with pytest.raises(StoreError, match=f"1 of 8 scans have changed since they were read: {raw.stem}"):
        ingested(spec)


def test_slices_in_object_storage_are_states_too(s3: S3, out: Path, tmp_path: Path) -> None:
    for number in range(2):
        write_series(tmp_path / "dicom" / f"s{number}", slices(stored_voxels(number)))
    root = s3.put_folder(tmp_path / "dicom")
    rows = [{"scan_id": f"s{number}", "path": f"s{number}", "label_path": None} for number in range(2)]
    s3.requests.clear()
    before = find_states(root, rows)
    assert {state.files for state in before.values()} == {7}
    assert len(s3.requests) <= 4
    (root / "s1" / "new.dcm").write_bytes(b"1")
    after = find_states(root, rows)
    assert (after["s0"], after["s1"].files) == (before["s0"], 8)


def test_scans_are_compared_on_a_cluster_as_here(ray_here: object, scans: tuple[Path, list[str]], out: Path) -> None:
    root, names = scans
    spec = experiment(root, out)
    ingested(spec)
    touch(root)
    said: list[str] = []
    brighten(raw_of(root, names[6]))
    with pytest.raises(StoreError, match=f"1 of 8 scans have changed since they were read: {names[6]}"):
        ingest(spec, RayExecutor(), said.append)


def test_a_repair_cuts_scans_that_changed_again_and_what_was_trained_before_is_trained_again(
    scans: tuple[Path, list[str]], out: Path, tmp_path: Path
) -> None:
    root, names = scans
    spec = experiment(root, out, training={"epochs": 1})
    run(spec, LocalExecutor(), lambda line: None)
    before = read_json(run_folder(spec).metrics)
    for name in names[:3]:
        brighten(raw_of(root, name))
    with pytest.raises(StoreError, match="3 of 8 scans have changed"):
        ingested(spec)
    said: list[str] = []
    ingest(spec, LocalExecutor(), said.append, repair=True, verify=True)
    assert any(line.startswith("repair: 3 of 8 scans have changed since they were read; ") for line in said)
    assert not any("other times" in line for line in ingested(spec))
    with pytest.raises(NotReadyError, match="no finished training of this experiment"):
        evaluate(spec, LocalExecutor(), said.append)
    run(spec, LocalExecutor(), said.append)
    assert any(
        line.startswith("train: the store's patches differ from those of the finished training; replaces")
        for line in said
    )
    whole = experiment(
        root, tmp_path / "whole", training={"epochs": 1}, model={"architecture": spec.model.architecture}
    )
    run(whole, LocalExecutor(), lambda line: None)
    assert contents(spec.store_path) == contents(whole.store_path)
    assert before != read_json(run_folder(spec).metrics) == read_json(run_folder(whole).metrics)


def test_a_repair_of_an_unfinished_store_cuts_scans_that_changed_again(
    scans: tuple[Path, list[str]], out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, names = scans
    spec = experiment(root, out)
    interrupted(spec, monkeypatch, 3)
    for name in names:
        brighten(raw_of(root, name))
    ingest(spec, LocalExecutor(), lambda line: None, repair=True)
    whole = experiment(root, out, store={"path": str(tmp_path / "whole")})
    ingested(whole)
    assert contents(spec.store_path) == contents(whole.store_path)


def read_json(path: Any) -> Any:
    return json.loads(path.read_text())
