import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from scenes import experiment

from voxray.errors import ConfigError, StoreError
from voxray.executors.local import LocalExecutor
from voxray.loader.loader import Batch, PatchLoader
from voxray.stages.ingest import ingest
from voxray.store.read import PatchStore, open_store


@pytest.fixture(scope="module")
def store(luna: Path, tmp_path_factory: pytest.TempPathFactory) -> PatchStore:
    folder = tmp_path_factory.mktemp("loader")
    (folder / "architecture.json").write_text('[{"type": "T", "activation": null}]')
    spec = experiment(luna, folder / "run", patches={"size": [16, 16, 1]})
    ingest(spec, LocalExecutor(), lambda line: None)
    return open_store(spec.store_path)


def batches(store: PatchStore, epoch: int | None, ranks: int = 1, streams: int | None = None, **kw: int) -> list[Batch]:
    size = kw.pop("batch_size", 10)
    loaders = [
        PatchLoader(store, "train", size, rank=rank, ranks=ranks, streams=streams, seed=7, **kw)
        for rank in range(ranks)
    ]
    return [batch for loader in loaders for batch in loader.epoch(epoch)]


@pytest.mark.parametrize("epoch", [None, 0, 3])
@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("buffer_bytes", [1, 2**28])
def test_every_row_comes_once_with_its_own_patch_label_and_rotation(
    store: PatchStore, epoch: int | None, ranks: int, buffer_bytes: int
) -> None:
    rows, images = store.rows("train"), store.open_images("train")
    seen = []
    for batch in batches(store, epoch, ranks, buffer_bytes=buffer_bytes):
        seen += batch.rows.tolist()
        slots = rows["slot"].to_numpy()[batch.rows]
        for image, slot in zip(batch.images.numpy(), slots, strict=True):
            np.testing.assert_array_equal(image, np.asarray(images[int(slot)]))
        assert batch.labels.tolist() == rows["label"].to_numpy()[batch.rows].tolist()
        assert batch.rotations.tolist() == rows["rotation"].to_numpy()[batch.rows].tolist()
    assert sorted(seen) == list(range(rows.num_rows))


def test_a_split_that_would_be_one_block_is_shared_by_all_streams(store: PatchStore) -> None:
    chunks = -(-len(store.rows("train")["slot"].unique()) // store.info.patches_per_chunk)
    assert chunks == 2, "choose another size of chunks"
    assert PatchLoader(store, "train", 10, streams=2).steps(0).sum(axis=0).min() > 0


def by_step(epoch_batches: list[Batch]) -> dict[int, list[tuple[int, int]]]:
    steps: dict[int, list[tuple[int, int]]] = {}
    for batch in epoch_batches:
        steps.setdefault(batch.step, []).extend(zip(batch.positions.tolist(), batch.rows.tolist(), strict=True))
    return {step: sorted(pairs) for step, pairs in steps.items()}


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_the_global_batches_of_some_streams_do_not_depend_on_the_number_of_ranks(store: PatchStore, ranks: int) -> None:
    alone = batches(store, 1, ranks=1, streams=4)
    assert by_step(batches(store, 1, ranks=ranks, streams=4)) == by_step(alone)
    for pairs in by_step(alone).values():
        assert [position for position, _ in pairs] == list(range(len(pairs)))


@pytest.mark.parametrize("first", [0, 1, 5, 11, 1000])
@pytest.mark.parametrize("buffer_bytes", [1, 2**28])
def test_an_epoch_from_a_step_on_is_the_end_of_the_whole_epoch(
    store: PatchStore, first: int, buffer_bytes: int
) -> None:
    def loader() -> PatchLoader:
        return PatchLoader(store, "train", 6, rank=1, ranks=2, streams=3, seed=7, buffer_bytes=buffer_bytes)

    whole, tail = list(loader().epoch(1)), list(loader().epoch(1, first))
    assert [batch.step for batch in tail] == [batch.step for batch in whole[first:]]
    for batch, resumed in zip(whole[first:], tail, strict=True):
        assert batch.rows.tolist() == resumed.rows.tolist()
        assert batch.images.equal(resumed.images)


def test_all_ranks_take_the_same_number_of_steps_with_the_same_totals(store: PatchStore) -> None:
    loaders = [PatchLoader(store, "train", 7, rank=rank, ranks=3, seed=7) for rank in range(3)]
    by_rank = [list(loader.epoch(0)) for loader in loaders]
    totals = [[batch.total for batch in rank_batches] for rank_batches in by_rank]
    assert totals[0] == totals[1] == totals[2]
    assert sum(totals[0]) == loaders[0].count
    parts = [sum(len(rank_batches[step].rows) for rank_batches in by_rank) for step in range(len(by_rank[0]))]
    assert parts == totals[0]


def test_a_split_that_fits_the_buffer_is_decoded_once(store: PatchStore, tmp_path: Path) -> None:
    copy = tmp_path / "store"
    shutil.copytree(store.path, copy)
    loader = PatchLoader(open_store(copy), "train", 16, seed=0)
    first = list(loader.epoch(0))
    shutil.rmtree(copy)
    second = list(loader.epoch(1))
    assert [b.rows.tolist() for b in first] != [b.rows.tolist() for b in second]


def test_an_epoch_that_is_left_early_leaves_no_thread_behind(store: PatchStore) -> None:
    before = threading.active_count()
    for _ in PatchLoader(store, "train", 4, seed=0).epoch(0):
        break
    assert threading.active_count() == before


def test_a_damaged_shard_is_an_error_and_not_a_patch_of_zeros(store: PatchStore, tmp_path: Path) -> None:
    copy = tmp_path / "store"
    shutil.copytree(store.path, copy)
    shard = copy / "train" / "image" / "c" / "0" / "0" / "0" / "0" / "0"
    shard.write_bytes(shard.read_bytes()[:-200])
    with pytest.raises(
        StoreError, match=r"image/c/0/0/0/0/0: this shard cannot be read: its index differs.* voxray ingest … --repair"
    ):
        list(PatchLoader(open_store(copy), "train", 4).epoch(0))
    shard.unlink()
    with pytest.raises(StoreError, match="this shard is missing"):
        open_store(copy)


def test_a_batch_smaller_than_the_number_of_workers_is_refused(store: PatchStore) -> None:
    with pytest.raises(
        ConfigError, match=r"training\.batch_size: expected at least one patch for each of 3 streams, got 2\. Raise it"
    ):
        PatchLoader(store, "train", 2, ranks=3)
