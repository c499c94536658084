import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from voxray.loader.sampler import Window, step_counts, stream_shares, stream_windows

slots_of = st.lists(st.integers(0, 300), max_size=150).map(lambda slots: np.sort(np.array(slots, np.int64)))


@settings(max_examples=150)
@given(slots_of, st.integers(1, 5), st.integers(1, 40), st.integers(1, 200), st.none() | st.integers(0, 3))
def test_every_row_is_used_exactly_once(
    slots: np.ndarray, streams: int, block: int, window: int, epoch: int | None
) -> None:
    windows = stream_windows(slots, streams, block, window, seed=1, epoch=epoch)
    assert len(windows) == streams
    rows = [row for stream in windows for decoded in stream for row in decoded.entries.tolist()]
    assert sorted(rows) == list(range(len(slots)))


@settings(max_examples=100)
@given(slots_of, st.integers(1, 4), st.integers(1, 40), st.integers(1, 200), st.none() | st.integers(0, 3))
def test_offsets_point_at_the_slots_of_the_rows(
    slots: np.ndarray, streams: int, block: int, window: int, epoch: int | None
) -> None:
    for stream in stream_windows(slots, streams, block, window, seed=1, epoch=epoch):
        for part in stream:
            decoded = np.concatenate([np.arange(low, high) for low, high in part.spans])
            np.testing.assert_array_equal(decoded[part.offsets], slots[part.entries])
            assert len(decoded) <= max(window, block)


def rows_of(windows: list[list[Window]]) -> list[list[int]]:
    return [[row for window in stream for row in window.entries.tolist()] for stream in windows]


def test_the_order_is_a_pure_function_of_seed_epoch_and_streams() -> None:
    slots = np.arange(500)
    first = rows_of(stream_windows(slots, 2, 16, 128, seed=3, epoch=5))
    assert first == rows_of(stream_windows(slots, 2, 16, 128, seed=3, epoch=5))
    assert first != rows_of(stream_windows(slots, 2, 16, 128, seed=3, epoch=6))
    assert first != rows_of(stream_windows(slots, 2, 16, 128, seed=4, epoch=5))
    assert first[0] != sorted(first[0])


def test_without_an_epoch_one_stream_keeps_the_order_of_the_index() -> None:
    assert rows_of(stream_windows(np.arange(100), 1, 8, 16)) == [list(range(100))]


def test_neighboring_patches_are_torn_apart_by_the_shuffle() -> None:
    (rows,) = rows_of(stream_windows(np.arange(4096), 1, 16, 1024, seed=0, epoch=0))
    gaps = np.abs(np.diff(rows))
    assert np.median(gaps) > 300
    assert np.corrcoef(np.arange(4096), rows)[0, 1] < 0.2


@given(st.lists(st.integers(0, 60), min_size=1, max_size=6), st.integers(6, 40))
def test_steps_give_every_row_away_and_never_more_than_the_batch(rows: list[int], batch: int) -> None:
    shares = stream_shares(batch, len(rows))
    assert sum(shares) == batch
    counts = step_counts(rows, shares)
    np.testing.assert_array_equal(counts.sum(axis=0), rows)
    assert (counts.sum(axis=1) <= batch).all()
    assert (counts.sum(axis=1) > 0).all()


@given(st.integers(40, 400), st.integers(1, 6))
def test_streams_are_balanced_to_within_a_block(count: int, streams: int) -> None:
    lengths = [len(rows) for rows in rows_of(stream_windows(np.arange(count), streams, 4, 16, seed=0, epoch=0))]
    assert max(lengths) - min(lengths) <= 4
