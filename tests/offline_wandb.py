"""What W&B wrote to disk, read back."""

import json
import struct
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

BLOCK, RECORD_HEADER, FILE_HEADER = 32768, 7, 7


def records(file: Path) -> Iterator[wandb_internal_pb2.Record]:
    """The records of a W&B transaction log: LevelDB's log format behind a file header of seven bytes."""
    data, position, pieces = file.read_bytes(), FILE_HEADER, b""
    assert data[:4] == b":W&B"
    while position + RECORD_HEADER <= len(data):
        left = BLOCK - position % BLOCK
        if left < RECORD_HEADER:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + RECORD_HEADER])
        position += RECORD_HEADER
        if position + length > len(data):  # still being written
            return
        pieces += data[position : position + length]
        position += length
        if kind in (1, 4):  # whole, or the last piece
            record = wandb_internal_pb2.Record()
            record.ParseFromString(pieces)
            pieces = b""
            yield record


def all_records(file: Path, timeout_s: float = 60) -> list[wandb_internal_pb2.Record]:
    """All records of a finished run, once W&B's own process has written the last of them."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        found = list(records(file))
        if any(record.WhichOneof("record_type") == "exit" for record in found):
            return found
        time.sleep(0.05)
    raise TimeoutError(f"{file} does not end")


def read_back(folder: Path) -> tuple[dict[str, list[Any]], dict[str, Any], dict[str, Any]]:
    """History, summary and config of W&B's own offline files, the training's first."""
    files = sorted((folder / "wandb").glob("offline-run-*/run-*.wandb"), key=lambda file: file.parent.name)
    history: dict[str, list[Any]] = {}
    summary: dict[str, Any] = {}
    config: dict[str, Any] = {}
    for record in chain.from_iterable(map(all_records, files)):
        for item in record.history.item:
            key = item.key or "/".join(item.nested_key)
            history.setdefault(key, []).append(json.loads(item.value_json))
        for item in record.summary.update:
            summary[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
        for item in [*record.run.config.update, *record.config.update]:
            config[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    return history, summary, config


def media(folder: Path, name: str) -> Path:
    """The file of a name in the history."""
    (file,) = (folder / "wandb").glob(f"offline-run-*/files/{name}")
    return file
