"""The ``zarr.json`` files of a store: the root group, whose attributes say what the store is, and the arrays."""

import itertools
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from voxray.errors import StoreError
from voxray.storage.atomic import write_bytes
from voxray.storage.paths import AnyPath, exists, read_bytes
from voxray.store.layout import (
    COMPRESSION,
    FORMAT,
    IMAGES,
    LEVEL,
    LISTS,
    MASKS,
    REINGEST,
    VERSION,
    ZARR_FILE,
    StoreInfo,
)

# Zarr is imported where it is used, because it takes a while and reading patches needs none of it.
if TYPE_CHECKING:
    import zarr
    from zarr.core.buffer import Buffer


def metadata_files(info: StoreInfo) -> dict[str, bytes]:
    """The content of each ``zarr.json`` by its path in the store; that of the root comes last."""
    import zarr
    from zarr.codecs import BloscCodec, Crc32cCodec
    from zarr.storage import MemoryStore

    files: dict[str, Buffer] = {}
    attributes = {"format": FORMAT, "version": VERSION, **asdict(info)}
    attributes["checksum"] = _checksum(attributes)
    root = zarr.create_group(MemoryStore(files), attributes=attributes)
    arrays: list[tuple[str, tuple[int, ...], str, str]] = [(IMAGES, info.patch_shape, info.dtype, "ncxyz")]
    if info.masks:
        arrays.append((MASKS, info.size, "uint8", "nxyz"))
    for (split, shards), (name, shape, dtype, axes) in itertools.product(info.shards.items(), arrays):
        root.create_array(
            name=f"{split}/{name}",
            shape=(shards * info.patches_per_shard, *shape),
            chunks=(info.patches_per_chunk, *shape),
            shards=(info.patches_per_shard, *shape),
            dtype=dtype,
            compressors=[BloscCodec(cname=COMPRESSION, clevel=LEVEL, shuffle="bitshuffle"), Crc32cCodec()],
            fill_value=0,
            dimension_names=tuple(axes),
        )
    return {name: files[name].to_bytes() for name in sorted(files, key=lambda name: (name == ZARR_FILE, name))}


def write_metadata(path: AnyPath, info: StoreInfo) -> None:
    """Write the metadata of a store, that of the root last."""
    for name, content in metadata_files(info).items():
        write_bytes(path / name, content)


def read_info(path: AnyPath) -> StoreInfo | None:
    """The attributes of the store at `path`, or None where there is none.

    Raises
    ------
    StoreError
        Something else is there, or the attributes are damaged.
    """
    file = path / ZARR_FILE
    if not exists(file):
        return None
    try:
        attributes: dict[str, Any] = dict(json.loads(read_bytes(file))["attributes"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreError(str(file), f"cannot be read: {error or 'not the metadata of a group'}", REINGEST) from None
    if attributes.pop("format", None) != FORMAT:
        raise StoreError(str(path), "is a Zarr group, but not a patch store", "Choose another store.path")
    version = attributes.pop("version", None)
    if version != VERSION:
        remedy = "Delete it and ingest again, or give another folder with --set store.path=…"
        raise StoreError(str(path), f"has format version {version}, this release reads {VERSION}", remedy)
    checksum = attributes.pop("checksum", None)
    if checksum != _checksum({"format": FORMAT, "version": version, **attributes}):
        raise StoreError(str(file), "the attributes differ from their checksum", REINGEST)
    values: dict[str, Any] = {name: tuple(value) if name in LISTS else value for name, value in attributes.items()}
    return StoreInfo(**values)


def open_array(path: AnyPath, info: StoreInfo, name: str) -> "zarr.Array[Any]":
    """Open an array, such as ``train/image``, with Zarr.

    Raises
    ------
    StoreError
        The metadata of the array is missing or damaged.
    """
    import zarr
    from zarr.storage import FsspecStore

    file = f"{name}/{ZARR_FILE}"
    if not is_intact(path / file, metadata_files(info)[file]):
        raise StoreError(str(path / file), "is missing or damaged", REINGEST)
    folder = path / name
    if isinstance(folder, Path):
        return zarr.open_array(str(folder), mode="r", zarr_format=3)
    return zarr.open_array(FsspecStore.from_url(str(folder), dict(folder.storage_options)), mode="r", zarr_format=3)


def is_intact(file: AnyPath, expected: bytes) -> bool:
    """Whether a file has this content."""
    try:
        return read_bytes(file) == expected
    except FileNotFoundError:
        return False


def _checksum(attributes: dict[str, Any]) -> str:
    """Of the attributes, whatever the order of their keys."""
    return xxhash.xxh3_128_hexdigest(json.dumps(attributes, sort_keys=True).encode())
