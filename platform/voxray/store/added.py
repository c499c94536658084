"""Rows that a run has added to its store for a second round of training, and the reading of both as one table.

A store may serve several runs and is never changed by one. So the rows of a run lie in a folder of the store of their
own, ``rounds/KEY``, whose files are those of a store, with ``negatives.parquet``, the list that they were cut from. The
key names everything that they depend on. Only a run whose first round has this key reads them.
"""

from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from voxray.config.experiment import Experiment
from voxray.config.rounds import first_round
from voxray.errors import NotReadyError, StoreError
from voxray.runs.folder import run_folder
from voxray.runs.records import read_records
from voxray.storage.paths import AnyPath
from voxray.store.layout import INDEX, NEGATIVES_FILE, ROUNDS_FOLDER
from voxray.store.read import PatchStore, open_store
from voxray.store.tables import read_table

SEARCH = "search"  # the stage of the first round that adds rows
ROUND = "round"
NEGATIVES = pa.schema(
    [
        ("scan_id", pa.string()),
        ("x_mm", pa.float64()),  # world RAS
        ("y_mm", pa.float64()),
        ("z_mm", pa.float64()),
        ("diameter_mm", pa.float64()),
        ("probability", pa.float64()),  # not calibrated
    ]
)


def added_folder(path: AnyPath, key: str) -> AnyPath:
    """The folder of the rows with a key, of the store at `path`."""
    return path / ROUNDS_FOLDER / key


def read_negatives(path: AnyPath, key: str) -> pa.Table:
    """The hard negatives with a key, the most probable first; schema NEGATIVES.

    Raises
    ------
    StoreError
        The list is missing or damaged.
    """
    return read_table(added_folder(path, key) / NEGATIVES_FILE, NEGATIVES, key)


def with_added(store: PatchStore, key: str) -> PatchStore:
    """The store with the rows that were added under a key, after those of its training split.

    Raises
    ------
    NotReadyError
        They are not finished.
    StoreError
        They are damaged.
    """
    folder = added_folder(store.path, key)
    added = open_store(folder)
    first = store.info.shards.get("train", 0)
    rows = added.index
    for name, offset in (("slot", first * store.info.patches_per_shard), ("shard", first)):
        values = pc.add(rows[name], offset).cast(INDEX.field(name).type)
        rows = rows.set_column(rows.schema.get_field_index(name), name, values)
    of_training = pc.equal(store.index["split"], "train")
    parts = [store.index.filter(of_training), rows, store.index.filter(pc.invert(of_training))]
    rounds = (1, 2, 1)
    tables = [
        part.append_column(ROUND, pa.array([number] * part.num_rows, pa.int8()))
        for part, number in zip(parts, rounds, strict=True)
    ]
    return replace(store, index=pa.concat_tables(tables).combine_chunks(), added=folder)


def with_rounds(experiment: Experiment, store: PatchStore) -> PatchStore:
    """The store as an experiment trains on it: of two rounds, with the rows of the second one.

    Raises
    ------
    NotReadyError
        The network of the first round has not searched the training scans.
    """
    if experiment.detection.rounds == 1:
        return store
    folder = run_folder(first_round(experiment))
    record = read_records(folder.stages).get(SEARCH)
    try:
        if record is not None and record.key.isalnum():  # the file may come from a stranger
            return with_added(store, record.key)
        problem = "the training scans have not been searched for hard negatives"
    except (NotReadyError, StoreError) as error:
        problem = f"the hard negatives cannot be read: {error.where}: {error.problem}"
    raise NotReadyError(str(folder.path), problem, "Run voxray train first")


def open_trained_store(experiment: Experiment) -> PatchStore:
    """Open the finished store of an experiment as it trains on it; errors of `open_store` and `with_rounds`."""
    return with_rounds(experiment, open_store(experiment.store_path))


def hard_negatives(store: PatchStore) -> pa.Table:
    """The added rows of a store, the most probable first; none where none were added."""
    if ROUND not in store.index.column_names:
        return store.index.slice(0, 0)
    return store.index.filter(pc.equal(store.index[ROUND], 2)).sort_by("row")
