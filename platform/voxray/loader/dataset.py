"""Patches as dictionaries of tensors: one by one for torch's DataLoader, or in batches as training reads them."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from voxray.loader.loader import Batch, PatchLoader
from voxray.store.read import PatchStore

NAMES = ("scan_id", "patient_id")
Tensors = dict[str, torch.Tensor]


class PatchDataset(Dataset[dict[str, Any]]):
    """The patches of a split by number, in the order of the index.

    Each patch is read by itself, which decodes its whole chunk: convenient, but slower than `BatchLoader`.

    Parameters
    ----------
    store : PatchStore
    split : str
    convert : callable
        Turns a batch into tensors by name.
    """

    def __init__(self, store: PatchStore, split: str, convert: Callable[[Batch], Tensors]) -> None:
        self.loader, self.convert = PatchLoader(store, split, 1), convert
        self.names = store.rows(split).select(NAMES)

    def __len__(self) -> int:
        return self.loader.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = range(len(self))[index]  # negative from the end; IndexError beyond it
        tensors = {name: values[0] for name, values in self.convert(self.loader.read(row)).items()}
        return {**tensors, **{name: self.names[name][row].as_py() for name in NAMES}}


class BatchLoader:
    """Batches of a split as dictionaries; each iteration is an epoch, which `epoch` numbers.

    Parameters
    ----------
    store : PatchStore
    split : str
    batch_size : int
    convert : callable
        Turns a batch into tensors by name.
    shuffle : bool
        Each epoch in another order, which depends on the seed alone; else in the order of the index.
    seed : int
    """

    def __init__(
        self,
        store: PatchStore,
        split: str,
        batch_size: int,
        convert: Callable[[Batch], Tensors],
        *,
        shuffle: bool,
        seed: int,
    ) -> None:
        self.loader, self.convert, self.shuffle = PatchLoader(store, split, batch_size, seed=seed), convert, shuffle
        rows = store.rows(split)
        self.names = {name: np.asarray(rows[name].to_pylist(), dtype=object) for name in NAMES}
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.loader.steps(None))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        for batch in self.loader.epoch(epoch if self.shuffle else None):
            names = {name: values[batch.rows].tolist() for name, values in self.names.items()}
            yield {**self.convert(batch), **names}
