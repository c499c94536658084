"""``sources.parquet``: the scans that a store was made from, with the state of their files when last compared.

It is the one file of a store that depends on where and when the scans were written, not only on their content.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from voxray.config.experiment import Experiment
from voxray.scans.files import FilesState, files_state, scan_files
from voxray.storage.paths import AnyPath, exists, join_path, list_once, storage_errors
from voxray.store.layout import SOURCES_FILE, StoreInfo, read_parquet, write_parquet

THREADS = 16  # for the headers and files of different scans, which a network file system delivers slowly
SOURCES = pa.schema(
    [
        ("scan_id", pa.string()),
        ("files", pa.int32()),  # of the scan and its mask, with the voxel files of headers and the slices of a series
        ("size_bytes", pa.int64()),
        ("digest", pa.string()),  # of their sizes and times, or ETags
    ]
)

States = dict[str, FilesState]


@dataclass(frozen=True)
class Sources:
    """The content of ``sources.parquet``.

    Attributes
    ----------
    data : dict
        The settings of the data set; its place is a digest.
    states : dict of str to FilesState
        By scan_id.
    """

    data: dict[str, Any]
    states: States


def data_settings(experiment: Experiment, info: StoreInfo) -> dict[str, Any]:
    """The settings of the data set, with a digest in place of its folder, whose name may be private."""
    root = hashlib.sha256(f"{info.digest} {experiment.data_path}".encode()).hexdigest()[:16]
    return {**experiment.data.model_dump(mode="json"), "root": root}


def read_sources(path: AnyPath) -> Sources | None:
    """The sources of the store at `path`; None where the file is missing or cannot be read."""
    if not exists(path / SOURCES_FILE):
        return None
    try:
        table = read_parquet(path / SOURCES_FILE)
        data = json.loads(table.schema.metadata[b"data"])
        states = {row.pop("scan_id"): FilesState(**row) for row in table.to_pylist()}
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError):
        return None
    return Sources(data, states)


def write_sources(path: AnyPath, sources: Sources) -> None:
    """Write ``sources.parquet`` of the store at `path`."""
    rows = [{"scan_id": name, **asdict(state)} for name, state in sorted(sources.states.items())]
    table = pa.Table.from_pylist(rows, schema=SOURCES)
    write_parquet(table.replace_schema_metadata({"data": json.dumps(sources.data)}), path / SOURCES_FILE)


def find_states(root: AnyPath, scans: Iterable[Mapping[str, Any]]) -> States:
    """The states of scans below `root` by scan_id, each of a row with ``scan_id``, ``path`` and ``label_path``.

    No voxel is read; object storage is listed once.
    """
    listed = list_once(root)

    def state_of(scan: Mapping[str, Any]) -> FilesState:
        paths = filter(None, (scan["path"], scan["label_path"]))
        return files_state(file for path in paths for file in scan_files(join_path(listed, path)))

    rows = list(scans)
    with storage_errors(root):
        is_one_file = listed.is_file()  # of many images
    if is_one_file:
        return dict.fromkeys((row["scan_id"] for row in rows), files_state([listed]))
    with ThreadPoolExecutor(THREADS) as threads:
        return {row["scan_id"]: state for row, state in zip(rows, threads.map(state_of, rows), strict=True)}
