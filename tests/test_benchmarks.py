"""What the benchmark of data loaders compares: every loader gives the patches of the same volumes."""

from itertools import chain
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = Path(__file__).parents[1]


@pytest.fixture
def helpers(monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, ModuleType]:
    monkeypatch.syspath_prepend(PROJECT / "benchmarks")
    from _helpers import contestants, peer_data

    return contestants, peer_data


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_loaders_give_the_patches_of_the_volumes(
    tmp_path: Path, helpers: tuple[ModuleType, ModuleType], task: str
) -> None:
    contestants, peer_data = helpers
    data = peer_data.PeerData(peer_data.TASKS[task], tmp_path / "data")
    peer_data.write_data(data, 1)
    for name in ("voxray", "memmap_threads"):
        contestant, folder = contestants.CONTESTANTS[name], tmp_path / name
        contestant.prepare(data, folder)
        batches = contestant.open(data, folder)(0)
        prints = list(chain.from_iterable(peer_data.fingerprints(*batch) for batch in batches))
        peer_data.check_same(data, prints, each_once=True)
        with pytest.raises(ValueError, match="differ from those of the volumes"):
            peer_data.check_same(data, [2 * prints[0], *prints[1:]], each_once=True)
