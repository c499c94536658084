"""Damaged and lost files of a store: made again by ingest, with the same bytes."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ingesting import begin, contents, finish, ingest, write
from scenes import experiment, write_luna

from voxray.config.experiment import Experiment
from voxray.errors import NotReadyError, StoreError, WorkError
from voxray.executors.local import LocalExecutor
from voxray.stages.ingest import ingest as ingest_stage
from voxray.store import prepare
from voxray.store import write as store_write
from voxray.store.layout import STORE_FILES
from voxray.store.metadata import read_info
from voxray.store.parts import part_file, read_part
from voxray.store.read import check_store, open_store
from voxray.store.write import write_shard

STATES: dict[str, Callable[[bytes], bytes | None]] = {
    "absent": lambda content: None,
    "empty": lambda content: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "garbage": lambda content: b"\xff\x00{[" * (len(content) // 4),
    "changed": lambda content: content.replace(b"1", b"2") if b"1" in content else content.swapcase(),
}
METADATA = ("zarr.json", "train/zarr.json", "val/image/zarr.json", "index.parquet", "quarantine.parquet")


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight scans, of which one is cut short and another has a candidate outside."""
    root = tmp_path_factory.mktemp("repair") / "luna"
    names = write_luna(root, 8)
    (root / "subset2" / f"{names[2]}.raw").write_bytes(b"short")
    with (root / "candidates.csv").open("a") as file:
        file.write(f"{names[5]},9999,0,0,1\n")
    return root


@pytest.fixture(scope="module")
def whole(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    spec = settings(scans, tmp_path_factory.mktemp("whole"))
    (spec.out_path.parent / "architecture.json").write_text('[{"type": "T", "activation": null}]')
    ingest_stage(spec, LocalExecutor(), print)
    return spec


def settings(scans: Path, folder: Path) -> Experiment:
    return experiment(scans, folder / "run", store={"max_quarantined": 0.5, "path": str(folder / "store")})


@pytest.fixture
def copy(whole: Experiment, scans: Path, tmp_path: Path) -> Experiment:
    """The finished store in a folder of its own."""
    shutil.copytree(whole.store_path, tmp_path / "store")
    shutil.copy(whole.out_path.parent / "architecture.json", tmp_path)
    return settings(scans, tmp_path)


def spoil(file: Path, state: str) -> None:
    content = STATES[state](file.read_bytes())
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)


def shards(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("c/*/*/*/*/*") if file.is_file())


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", METADATA)
def test_a_lost_or_damaged_file_of_a_finished_store_is_made_again_with_a_line(
    copy: Experiment, whole: Experiment, name: str, state: str
) -> None:
    file = copy.store_path / name
    spoil(file, state)
    if name in ("zarr.json", "index.parquet", "quarantine.parquet"):
        with pytest.raises((StoreError, NotReadyError), match="Run voxray ingest"):
            open_store(copy.store_path)
    lines: list[str] = []
    ingest_stage(copy, LocalExecutor(), lines.append)
    if (name, state) != ("index.parquet", "absent"):  # then the store is unfinished
        assert any(str(file) in line and "made again" in line for line in lines)
    assert contents(copy.store_path) == contents(whole.store_path)


@pytest.mark.parametrize("state", STATES)
def test_repair_makes_damaged_shards_again_and_leaves_the_others(
    copy: Experiment, whole: Experiment, state: str
) -> None:
    damaged = shards(copy.store_path)[1:4:2]
    for shard in damaged:
        spoil(shard, state if state != "changed" else "garbage")
    untouched = {shard: shard.stat().st_mtime_ns for shard in shards(copy.store_path) if shard not in damaged}
    lines: list[str] = []
    ingest_stage(copy, LocalExecutor(), lines.append, repair=True)
    assert all(any(str(shard) in line for line in lines) for shard in damaged)
    assert "repair: 2 damaged shards are written again" in lines
    assert contents(copy.store_path) == contents(whole.store_path)
    written = [shard for shard, time in untouched.items() if shard.stat().st_mtime_ns != time]
    assert len(written) <= 1, "at most the shards of the quarantined scans"
    ingest_stage(copy, LocalExecutor(), lines.append, repair=True, verify=True)
    assert "repair: 8 shards checked, none is damaged" in lines


def test_repair_of_an_unfinished_store_writes_its_damaged_shards_and_parts_again(
    scans: Path, whole: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(whole.out_path.parent / "architecture.json", tmp_path)
    spec = settings(scans, tmp_path)
    keys = begin(spec)
    write(spec, keys[:3])
    spoil(shards(spec.store_path)[0], "truncated")
    spoil(part_file(spec.store_path, *keys[1]), "truncated")
    lines: list[str] = []
    ingest_stage(spec, LocalExecutor(), lines.append, repair=True)
    assert any("the part of train shard 1 cannot be read" in line for line in lines)
    assert "repair: 1 damaged shard is written again" in lines
    assert f"ingest: 1 of {len(keys)} shards are finished, resuming" in lines
    assert "· 102 of 118 patches, 16 quarantined\n" in capsys.readouterr().err, "those of the finished shard count too"
    assert contents(spec.store_path).keys() == contents(whole.store_path).keys()
    assert len(list(check_store(open_store(spec.store_path)))) == len(keys)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", ["plan.parquet", "quarantine.parquet", "train-000000.parquet"])
def test_a_damaged_file_of_an_unfinished_store_is_made_again(
    scans: Path, whole: Experiment, tmp_path: Path, name: str, state: str
) -> None:
    spec = settings(scans, tmp_path)
    write(spec, begin(spec)[:3])
    spoil(spec.store_path / "parts" / name, state)
    write(spec, begin(spec))
    finish(spec)
    expected = contents(whole.store_path)
    assert contents(spec.store_path) == {key: value for key, value in expected.items() if key != "sources.parquet"}


def test_a_plan_that_was_being_written_when_the_process_died_is_no_dead_end(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = settings(scans, tmp_path)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    for step in ("write_plan", "write_table", "write_bytes"):
        with monkeypatch.context() as patch:
            patch.setattr(prepare, step, killed)
            with pytest.raises(KeyboardInterrupt):
                begin(spec)
        (spec.store_path / "parts").mkdir(parents=True, exist_ok=True)
        (spec.store_path / "parts" / ".unfinished.host.1.ab.plan.parquet").write_bytes(b"half")
    ingest(spec)


def test_without_metadata_index_and_plan_shards_are_not_overwritten(copy: Experiment) -> None:
    for name in ("zarr.json", "index.parquet"):
        (copy.store_path / name).unlink()
    with pytest.raises(StoreError, match="expected an empty or new folder, got one that holds 't"):
        begin(copy)


def test_a_store_of_other_settings_that_lost_its_metadata_is_not_overwritten(copy: Experiment) -> None:
    (copy.store_path / "zarr.json").unlink()
    before = contents(copy.store_path)
    other = copy.model_copy(update={"seed": 5})
    with pytest.raises(StoreError, match=r"holds a store with other settings, whose zarr\.json is lost"):
        begin(other)
    (copy.store_path / "zarr.json").write_text("{")
    with pytest.raises(StoreError, match=r"zarr\.json: cannot be read"):
        begin(other)
    (copy.store_path / "zarr.json").unlink()
    assert contents(copy.store_path) == before


def test_a_task_that_outlives_its_ingest_writes_nothing_into_a_finished_or_another_store(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = settings(scans, tmp_path), settings(scans, tmp_path).model_copy(update={"seed": 5})
    keys = begin(first)
    cut_scan = store_write.cut_scan

    def meanwhile(work: Callable[[], object]) -> None:
        """Let another process work while a task reads its scans."""
        once = [work]

        def slow(*arguments: object) -> object:
            while once:
                once.pop()()
            return cut_scan(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(store_write, "cut_scan", slow)

    meanwhile(lambda: ingest(first))
    with pytest.raises(WorkError, match=r"finished, replaced or removed .* its results are dropped"):
        write_shard(first.store_path, first.data_path, *keys[0])
    finished = contents(first.store_path)
    assert not any(name.startswith("parts/") for name in finished)
    shutil.rmtree(first.store_path)
    begin(first)

    def replace_store() -> None:
        shutil.rmtree(first.store_path)
        begin(second)

    meanwhile(replace_store)
    before = contents(first.store_path)
    with pytest.raises(WorkError, match="finished, replaced or removed"):
        write_shard(first.store_path, first.data_path, *keys[0])
    assert contents(first.store_path).keys() == before.keys()


def test_a_shard_that_is_written_twice_at_a_time_never_lacks_its_rows(
    scans: Path, whole: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stale task goes on at each of its writes after a new one has written the whole shard."""
    spec = settings(scans, tmp_path)
    keys = begin(spec)
    for name in ("write_shard_file", "write_part"):
        original = getattr(store_write, name)

        def late(*arguments: object, original: Callable[..., None] = original, name: str = name) -> None:
            monkeypatch.setattr(store_write, name, original)
            write(spec, keys)
            original(*arguments)

        monkeypatch.setattr(store_write, name, late)
        write(spec, keys[:1])
        info = read_info(spec.store_path)
        assert info is not None
        for key in keys:
            index, quarantine = read_part(spec.store_path, info, key)
            assert index.num_rows + sum(quarantine["samples"].to_pylist()) > 0
    finish(spec)
    expected = contents(whole.store_path)
    assert contents(spec.store_path) == {key: value for key, value in expected.items() if key != "sources.parquet"}


def test_the_digest_of_the_content_changes_with_any_patch_and_with_nothing_else(
    copy: Experiment, whole: Experiment
) -> None:
    store = open_store(whole.store_path)
    assert store.content_digest == open_store(copy.store_path).content_digest
    again = store.index.slice(0, 3), store.index.slice(3)
    assert replace(store, index=pa.concat_tables(again)).content_digest == store.content_digest
    for column in ("split", "slot", "label", "patient_id", "checksum", "rotation"):
        values = store.index[column].to_pylist()
        values[7] = f"{values[7]}x" if isinstance(values[7], str) else values[7] + 1
        at = store.index.column_names.index(column)
        changed = store.index.set_column(at, column, pa.array(values, store.index[column].type))
        assert replace(store, index=changed).content_digest != store.content_digest


def test_every_file_of_a_store_is_known(whole: Experiment, scans: Path, tmp_path: Path) -> None:
    spec = settings(scans, tmp_path)
    write(spec, begin(spec)[:2])
    for name in [*contents(whole.store_path), *contents(spec.store_path)]:
        assert STORE_FILES.fullmatch(name), name


def test_no_flipped_bit_of_a_parquet_file_goes_unseen(copy: Experiment) -> None:
    whole = open_store(copy.store_path)
    for name in ("index.parquet", "quarantine.parquet"):
        file = copy.store_path / name
        content = file.read_bytes()
        for byte in range(0, len(content), max(1, len(content) // 60)):
            damaged = bytearray(content)
            damaged[byte] ^= 1 << byte % 8
            file.write_bytes(damaged)
            with suppress(StoreError):
                # Some bits of the footer say nothing about the content, such as the version of the writer.
                store = open_store(copy.store_path)
                assert store.index.equals(whole.index)
                assert store.quarantine.equals(whole.quarantine)
        file.write_bytes(content)
    assert pq.read_table(copy.store_path / "index.parquet").num_rows == whole.index.num_rows
