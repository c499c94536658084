"""Data loaders that give the same batches, each set up as its own documentation advises.

Every one writes its files once (`prepare`) and then gives epochs of batches: images as float32 in [0, 1] (n, 1, x, y,
z), and labels (n,) or label maps (n, 1, x, y, z).
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from _helpers.chests import fill_store, prepare
from _helpers.peer_data import CLASSIFICATION, SEGMENTATION, WINDOW, PeerData
from torch.utils.data import DataLoader, Dataset

from voxray.loader.loader import PatchLoader
from voxray.store.read import open_store
from voxray.training.tensors import NormalizeBatch

WORKERS = len(os.sched_getaffinity(0))
TASKS = (CLASSIFICATION.name, SEGMENTATION.name)
Batches = Iterable[tuple[torch.Tensor, torch.Tensor]]
Epochs = Callable[[int], Batches]


@dataclass(frozen=True)
class Contestant:
    """One way to load the patches.

    Attributes
    ----------
    label : str
        For the table.
    prepare : callable
        Writes files in a folder, from the data.
    open : callable
        Gives a function from the number of an epoch to its batches.
    modules : tuple of str
        Packages that it needs beside Voxray's own.
    tasks : tuple of str
    each_once : bool
        Whether an epoch has each patch once; else patches are drawn with replacement.
    reads : callable
        The files that an epoch reads, given data and folder.
    """

    label: str
    prepare: Callable[[PeerData, Path], None]
    open: Callable[[PeerData, Path], Epochs]
    modules: tuple[str, ...] = ()
    tasks: tuple[str, ...] = TASKS
    each_once: bool = True
    reads: Callable[[PeerData, Path], list[Path]] = lambda data, folder: [folder]


def nothing_to_write(data: PeerData, folder: Path) -> None:
    """The loader reads the arrays of all patches."""


def arrays(data: PeerData, folder: Path) -> list[Path]:  # noqa: ARG001
    """The arrays of all patches."""
    return [data.images, data.targets]


def repeated(loader: Iterable[Any]) -> Epochs:
    """Each iteration of a loader is an epoch."""
    return lambda epoch: ((images, targets) for images, targets in loader)


# Voxray


def write_store(data: PeerData, folder: Path) -> None:
    """Ingest."""
    spec = data.experiment().model_copy(update={"out": str(folder)})
    fill_store(spec, prepare(spec))


def voxray(buffer_bytes: int) -> Callable[[PeerData, Path], Epochs]:
    """The loader as training uses it, with normalization and a buffer of `training.buffer_bytes`."""

    def open_loader(data: PeerData, folder: Path) -> Epochs:
        store = open_store(folder / "store")
        normalize = NormalizeBatch(data.experiment(), store.info.patch_shape)
        loader = PatchLoader(store, "train", data.task.batch_size, buffer_bytes=buffer_bytes)

        def batches(epoch: int) -> Batches:
            for batch in loader.epoch(epoch):
                tensors = normalize(batch)
                yield tensors["image"], tensors["mask" if "mask" in tensors else "label"]

        return batches

    return open_loader


# Arrays of all patches in torch's datasets


class ArrayPatches(Dataset):
    """Patches of arrays that are opened when the first is read, in the process that reads it."""

    def __init__(self, data: PeerData, open_arrays: Callable[[], tuple[Any, Any]]) -> None:
        self.data, self.open_arrays = data, open_arrays
        self.arrays: tuple[Any, Any] | None = None
        self.count = len(np.load(data.targets, mmap_mode="r"))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        if self.arrays is None:
            self.arrays = self.open_arrays()
        images, targets = self.arrays
        return self.data.scale(torch.tensor(np.asarray(images[index]))), torch.tensor(np.asarray(targets[index]))


def memory_mapped(data: PeerData) -> ArrayPatches:
    """NumPy's memory maps."""
    return ArrayPatches(data, lambda: (np.load(data.images, mmap_mode="r"), np.load(data.targets, mmap_mode="r")))


def processes(data: PeerData, dataset: Any) -> DataLoader:
    """Torch's loader with a process for each CPU, kept from epoch to epoch."""
    return DataLoader(dataset, data.task.batch_size, shuffle=True, num_workers=WORKERS, persistent_workers=True)


def threads(data: PeerData, dataset: Any) -> Any:
    """MONAI's loader that prepares batches in a thread; its guide advises no workers for light work."""
    from monai.data import ThreadDataLoader

    return ThreadDataLoader(dataset, batch_size=data.task.batch_size, shuffle=True, num_workers=0)


def write_zarr(data: PeerData, folder: Path) -> None:
    """A chunk for each patch and no shards, with the codec of Voxray's store."""
    import zarr
    from zarr.codecs import BloscCodec

    for name, path in (("images", data.images), ("targets", data.targets)):
        source = np.load(path, mmap_mode="r")
        # A file for each label would be absurd.
        chunks = (1, *source.shape[1:]) if source.ndim > 1 else source.shape
        codec = BloscCodec(cname="lz4", shuffle="bitshuffle")
        zarr.create_array(folder / name, data=np.asarray(source), chunks=chunks, compressors=codec)


def open_zarr(folder: Path) -> tuple[Any, Any]:
    """Arrays of `write_zarr`; labels are read at once."""
    import zarr

    images, targets = (zarr.open_array(folder / name, mode="r") for name in ("images", "targets"))
    return images, targets if targets.ndim > 1 else targets[:]


# MONAI


def monai_items(data: PeerData) -> tuple[list[dict[str, int]], Any]:
    """Items and transforms; all are MONAI's or of its interface, so that their results are cached."""
    from monai.data import set_track_meta
    from monai.transforms import Compose, EnsureTyped, MapTransform, ScaleIntensityRanged

    set_track_meta(False)
    images, targets = np.load(data.images, mmap_mode="r"), np.load(data.targets, mmap_mode="r")

    class ReadPatchd(MapTransform):
        def __call__(self, item: dict[str, int]) -> dict[str, Any]:
            return {"image": np.array(images[item["image"]]), "target": np.array(targets[item["target"]])}

    keys = ["image", "target"]
    scale = ScaleIntensityRanged("image", *WINDOW, 0.0, 1.0, clip=True)
    steps = Compose([ReadPatchd(keys), scale, EnsureTyped(keys)])
    return [{"image": row, "target": row} for row in range(len(targets))], steps


def pairs(loader: Iterable[Any]) -> Epochs:
    """Epochs of a loader that gives dictionaries."""
    return lambda epoch: ((batch["image"], batch["target"]) for batch in loader)


def monai_cache(data: PeerData) -> Any:
    """Normalized patches in memory, not copied, because no step after the cache changes them."""
    from monai.data import CacheDataset

    items, steps = monai_items(data)
    return CacheDataset(items, steps, num_workers=WORKERS, copy_cache=False, progress=False)


def monai_persistent(data: PeerData, folder: Path) -> Any:
    """Normalized patches in files."""
    from monai.data import PersistentDataset

    return PersistentDataset(*monai_items(data), cache_dir=folder)


def fill_persistent(data: PeerData, folder: Path) -> None:
    """Write the files before the first epoch."""
    dataset = monai_persistent(data, folder)
    for row in range(len(dataset)):
        dataset[row]


def monai_processes(data: PeerData, dataset: Any) -> Epochs:
    """MONAI's own loader with a process for each CPU."""
    from monai.data import DataLoader as MonaiLoader

    options = {"shuffle": True, "num_workers": WORKERS, "persistent_workers": True}
    return pairs(MonaiLoader(dataset, batch_size=data.task.batch_size, **options))


# TorchIO


def torchio_queue(data: PeerData, folder: Path) -> Epochs:  # noqa: ARG001
    """Whole volumes in processes, all patches of each in a queue, from which the main process takes batches."""
    import torchio

    low, high = WINDOW
    scale = torchio.Compose([torchio.Clamp(low, high), torchio.RescaleIntensity((0, 1), in_min_max=(low, high))])
    subjects = []
    for number, path in enumerate(data.volumes):
        images = {"image": torchio.ScalarImage(path)}
        if data.task is SEGMENTATION:
            images["target"] = torchio.LabelMap(data.scans / "labelsTr" / path.name)
        subjects.append(torchio.Subject(**images, number=number))
    dataset = torchio.SubjectsDataset(subjects, transform=scale)
    per_volume = data.task.per_volume
    sampler = torchio.GridSampler(subjects[0], data.task.size)
    # The patches of several volumes are mixed.
    queue = torchio.Queue(dataset, max(300, 2 * per_volume), per_volume, sampler, num_workers=WORKERS)
    loader = torchio.SubjectsLoader(queue, batch_size=data.task.batch_size, num_workers=0)
    labels = torch.tensor(np.load(data.targets)) if data.task is CLASSIFICATION else None

    def batches(epoch: int) -> Batches:  # noqa: ARG001
        for batch in loader:
            if labels is None:
                yield batch["image"]["data"], batch["target"]["data"]
            else:
                steps = batch["location"][:, :3] // torch.tensor(data.task.size)
                row = (steps * torch.tensor([data.task.grid[1] * data.task.grid[2], data.task.grid[2], 1])).sum(1)
                yield batch["image"]["data"], labels[batch["number"] * per_volume + row]

    return batches


# MosaicML Streaming


def write_mds(data: PeerData, folder: Path) -> None:
    """Shards of MDS, not compressed, which is the fastest from a local disk."""
    from streaming import MDSWriter

    images, targets = np.load(data.images, mmap_mode="r"), np.load(data.targets, mmap_mode="r")
    kinds = [f"ndarray:{array.dtype}:{','.join(map(str, array.shape[1:]))}" for array in (images, targets)]
    columns = {"image": kinds[0], "target": kinds[1] if targets.ndim > 1 else "int"}
    with MDSWriter(out=str(folder), columns=columns) as out:
        for image, target in zip(images, targets, strict=True):
            out.write({"image": np.array(image), "target": np.array(target) if targets.ndim > 1 else int(target)})


def streaming_loader(data: PeerData, folder: Path) -> Epochs:
    """A local streaming dataset in processes."""
    from streaming import StreamingDataLoader, StreamingDataset
    from streaming.base.util import clean_stale_shared_memory

    class Patches(StreamingDataset):
        def __getitem__(self, at: int) -> tuple[torch.Tensor, Any]:
            sample = super().__getitem__(at)
            target = sample["target"]
            image = data.scale(torch.tensor(sample["image"]))
            return image, torch.tensor(target) if isinstance(target, np.ndarray) else target

    clean_stale_shared_memory()
    dataset = Patches(local=str(folder), shuffle=True, batch_size=data.task.batch_size)
    return repeated(
        StreamingDataLoader(dataset, batch_size=data.task.batch_size, num_workers=WORKERS, persistent_workers=True)
    )


# nnU-Net


def write_blosc2(data: PeerData, folder: Path) -> None:
    """Each crop as a case of its own, normalized as nnU-Net's preprocessing does, in chunks for this patch size."""
    from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2

    images, masks = np.load(data.images, mmap_mode="r"), np.load(data.targets, mmap_mode="r")
    blocks, chunks = comp_blosc2_params((1, *data.task.size), data.task.size)
    for row, (image, mask) in enumerate(zip(images, masks, strict=True)):
        normalized = data.scale(torch.tensor(image)).numpy()
        name, seg = str(folder / f"case_{row:05d}"), mask.astype(np.int8)
        properties = {"class_locations": {}}
        nnUNetDatasetBlosc2.save_case(normalized, seg, properties, name, chunks=chunks, blocks=blocks)


def nnunet_loader(data: PeerData, folder: Path) -> Epochs:
    """nnU-Net's loader behind its augmenter of processes, set up as its trainer does, without augmentation."""
    from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
    from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

    labels: Any = SimpleNamespace(all_labels=[1, 2], has_ignore_label=False)
    dataset = nnUNetDatasetBlosc2(str(folder))
    size, batch_size, cached = data.task.size, data.task.batch_size, max(6, WORKERS // 2)
    source = nnUNetDataLoader(dataset, batch_size, size, size, labels)
    batches = NonDetMultiThreadedAugmenter(source, None, WORKERS, cached, seeds=None, wait_time=0.002)
    steps = len(dataset.identifiers) // batch_size

    def epoch_of(epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:  # noqa: ARG001
        for _ in range(steps):
            batch = next(batches)
            yield batch["data"], batch["target"]

    return epoch_of


CONTESTANTS = {
    "voxray": Contestant("Voxray", write_store, voxray(2**28)),
    "voxray_1gib": Contestant("Voxray, buffer of 1 GiB", write_store, voxray(2**30)),
    "monai_cache_threads": Contestant(
        "MONAI `CacheDataset`, `ThreadDataLoader`",
        nothing_to_write,
        lambda data, folder: pairs(threads(data, monai_cache(data))),
        ("monai",),
        reads=arrays,
    ),
    "monai_cache_processes": Contestant(
        "MONAI `CacheDataset`, `DataLoader`",
        nothing_to_write,
        lambda data, folder: monai_processes(data, monai_cache(data)),
        ("monai",),
        reads=arrays,
    ),
    "monai_persistent": Contestant(
        "MONAI `PersistentDataset`, `DataLoader`",
        fill_persistent,
        lambda data, folder: monai_processes(data, monai_persistent(data, folder)),
        ("monai",),
    ),
    "torchio": Contestant(
        "TorchIO `Queue`", nothing_to_write, torchio_queue, ("torchio",), reads=lambda data, folder: [data.scans]
    ),
    "streaming": Contestant("MosaicML Streaming", write_mds, streaming_loader, ("streaming",)),
    "nnunet": Contestant(
        "nnU-Net, Blosc2", write_blosc2, nnunet_loader, ("nnunetv2", "blosc2"), (SEGMENTATION.name,), each_once=False
    ),
    "memmap_threads": Contestant(
        "NumPy memmap, MONAI `ThreadDataLoader`",
        nothing_to_write,
        lambda data, folder: repeated(threads(data, memory_mapped(data))),
        ("monai",),
        reads=arrays,
    ),
    "memmap_processes": Contestant(
        "NumPy memmap, torch `DataLoader`",
        nothing_to_write,
        lambda data, folder: repeated(processes(data, memory_mapped(data))),
        reads=arrays,
    ),
    "zarr": Contestant(
        "Zarr, a patch a chunk, torch `DataLoader`",
        write_zarr,
        lambda data, folder: repeated(processes(data, ArrayPatches(data, lambda: open_zarr(folder)))),
    ),
}
