"""A patch store, for reading and for training in a loop of one's own."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from voxray.api import AnyText
from voxray.api.arguments import check_instance, check_integer
from voxray.errors import ConfigError
from voxray.storage.paths import exists, to_path
from voxray.store.read import PatchStore
from voxray.store.read import open_store as open_patch_store

if TYPE_CHECKING:
    from voxray.config.experiment import Experiment
    from voxray.loader.dataset import BatchLoader, PatchDataset


@dataclass(frozen=True, eq=False, repr=False)
class Store(PatchStore):
    """A finished patch store; made by `open_store`.

    Attributes
    ----------
    path : path
    info : StoreInfo
        Classes, size and dtype of the patches, and their provenance.
    index : pyarrow.Table
        A row for each patch: split, label, scan, patient, box, …; see ``docs/store.md``.
    quarantine : pyarrow.Table
        A row for each scan or patch that could not be used, with the reason.
    given_config : Experiment, optional
        See `config`.

    Examples
    --------
    >>> store = voxray.open_store(run_folder + "/store")
    >>> store
    <Store 136 patches of 1x16x16x6 int16, train 72, val 32, test 32>
    >>> len(store), store.splits["train"], store.index["label"][0].as_py()
    (136, 72, 1)
    """

    given_config: "Experiment | None" = None

    @property
    def config(self) -> "Experiment | None":
        """The experiment of the run that the store belongs to, which says how patches are normalized."""
        if self.given_config is not None:
            return self.given_config
        from voxray.config.load import read_experiment
        from voxray.runs.folder import RunFolder

        file = RunFolder(self.path.parent).experiment
        return read_experiment(file) if exists(file) else None

    def __len__(self) -> int:
        return int(self.index.num_rows)

    def __repr__(self) -> str:
        shape, splits = "x".join(map(str, self.info.patch_shape)), [f"{key} {n}" for key, n in self.splits.items()]
        return f"<Store {len(self)} patches of {shape} {self.info.dtype}, {', '.join(splits)}>"

    @property
    def splits(self) -> dict[str, int]:
        """Number of patches of each split; rotations that training repeats count."""
        return {split: self.rows(split).num_rows for split in self.info.shards}

    def dataset(self, split: str, *, normalize: bool = True) -> "PatchDataset":
        """A split as a map-style dataset of torch, in the order of the index.

        Parameters
        ----------
        split : str
        normalize : bool
            As the run does; else patches are in the scans' own numbers.

        Returns
        -------
        torch.utils.data.Dataset
            Of dictionaries: ``image`` (channel, x, y[, z]), ``label``, or ``mask`` and ``valid`` (1, x, y[, z], False
            in padding), ``scan_id``, ``patient_id``.

        Raises
        ------
        ConfigError
            Unknown split, or nothing says how to normalize.

        Examples
        --------
        >>> dataset = voxray.open_store(run_folder + "/store").dataset("train")
        >>> len(dataset), dataset[0]["image"].shape, int(dataset[0]["label"])
        (72, torch.Size([1, 16, 16, 6]), 1)
        """
        from voxray.loader.dataset import PatchDataset

        return PatchDataset(self, self._check(split), self._convert(normalize))

    def loader(
        self,
        split: str,
        batch_size: int = 32,
        seed: int = 0,
        *,
        shuffle: bool | None = None,
        normalize: bool = True,
    ) -> "BatchLoader":
        """The loader of training: reads whole chunks ahead in the background. Each iteration is the next epoch.

        Parameters
        ----------
        split : str
        batch_size, seed : int
        shuffle : bool, optional
            By default for ``train`` alone.
        normalize : bool
            As the run does; else patches are in the scans' own numbers.

        Returns
        -------
        BatchLoader
            Iterable of dictionaries as `dataset` has them, with a first axis for the patches of a batch.

        Raises
        ------
        ConfigError
            Unknown split, no patch in a batch, a negative seed, or nothing says how to normalize.

        Examples
        --------
        >>> loader = voxray.open_store(run_folder + "/store").loader("train", batch_size=32, seed=0)
        >>> [len(batch["label"]) for batch in loader]
        [32, 32, 8]
        """
        from voxray.loader.dataset import BatchLoader

        check_integer("batch_size", batch_size, 1)
        check_integer("seed", seed, 0)
        convert, shuffle = self._convert(normalize), split == "train" if shuffle is None else shuffle
        return BatchLoader(self, self._check(split), batch_size, convert, shuffle=shuffle, seed=seed)

    def _check(self, split: str) -> str:
        if split not in self.info.shards:
            splits = ", ".join(self.info.shards)
            raise ConfigError("split", f"expected a split of the store, got '{split}'", f"It has {splits}")
        return split

    def _convert(self, normalize: bool) -> Any:
        from voxray.training.tensors import NormalizeBatch, raw_batch

        if not normalize:
            return raw_batch
        if (config := self.config) is None:
            remedy = "Give open_store(path, config), or normalize=False for the scans' own numbers"
            raise ConfigError(str(self.path), "the store does not say how its patches are normalized", remedy)
        return NormalizeBatch(config, self.info.patch_shape)


def open_store(path: AnyText, config: "Experiment | None" = None) -> Store:
    """Open a finished patch store. Neither torch nor a decoder of scans is imported.

    Parameters
    ----------
    path : str or path
    config : Experiment, optional
        Says how patches are normalized; by default the ``experiment.json`` beside the store, where there is one.

    Raises
    ------
    NotReadyError
        There is no store, or it is not finished.
    ConfigError
        `config` is no Experiment.

    Examples
    --------
    >>> voxray.open_store(run_folder + "/store").info.classes
    ('other', 'nodule')
    """
    store = open_patch_store(to_path(path))
    if config is not None:
        from voxray.config.experiment import Experiment

        check_instance("config", config, Experiment, "Give voxray.load_config(path)")
    return Store(store.path, store.info, store.index, store.quarantine, given_config=config)
