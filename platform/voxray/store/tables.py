"""The Parquet files of a store: each names the store that it belongs to, and carries a checksum of its content.

The pages have checksums of their own; the one of the content also covers what the footer says about them.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from voxray.errors import StoreError, VoxrayError
from voxray.storage.paths import AnyPath, storage_errors
from voxray.store.layout import REINGEST, read_parquet, write_parquet

DIGEST, CHECKSUM = b"voxray.digest", b"voxray.checksum"  # keys of the schema's metadata


def write_table(table: pa.Table, path: AnyPath, digest: str) -> None:
    """Write a table of the store that has this digest, whole or not at all."""
    metadata = {DIGEST: digest, CHECKSUM: table_checksum(table)}
    write_parquet(table.replace_schema_metadata(metadata), path)


def read_table(path: AnyPath, schema: pa.Schema, digest: str) -> pa.Table:
    """Read a table of the store that has this digest.

    Raises
    ------
    StoreError
        The file is missing or damaged, or belongs to another store.
    """
    try:
        with storage_errors(path):
            table = read_parquet(path)
    except VoxrayError:
        raise
    except FileNotFoundError:
        raise StoreError(str(path), "is missing", REINGEST) from None
    except Exception as error:  # noqa: BLE001  a damaged file makes Arrow raise nearly anything
        raise StoreError(str(path), f"cannot be read: {error}", REINGEST) from None
    metadata = table.schema.metadata or {}
    if metadata.get(DIGEST) != digest.encode():
        raise StoreError(str(path), "belongs to another store", REINGEST)
    table = table.replace_schema_metadata(None)
    if not table.schema.equals(schema) or metadata.get(CHECKSUM) != table_checksum(table).encode():
        raise StoreError(str(path), "the content differs from its checksum", REINGEST)
    return table


def joined_digest(digest: str, index: pa.Table) -> str:
    """The digest of a file that belongs to one index, not to that of another data set with equal settings."""
    return f"{digest} {table_checksum(index)}"


def table_checksum(table: pa.Table) -> str:
    """The checksum of the values of all columns, whatever their chunks and buffers in memory."""
    hasher = xxhash.xxh3_128()
    for column in table.columns:
        _update(hasher, column.combine_chunks())
    return hasher.hexdigest()


def _update(hasher: xxhash.xxh3_128, array: pa.Array) -> None:
    if array.null_count:
        hasher.update(np.packbits(array.is_valid().to_numpy(zero_copy_only=False)).data)
    if pa.types.is_list(array.type):
        hasher.update(pc.list_value_length(array).fill_null(0).to_numpy())
        _update(hasher, array.flatten())
    elif pa.types.is_string(array.type):
        array = pa.concat_arrays([pa.array([""]), array.fill_null("")])  # an empty array may have no buffers
        hasher.update(pc.binary_length(array).to_numpy())
        ends = np.frombuffer(array.buffers()[1], np.int32)[: len(array) + 1]
        hasher.update(memoryview(array.buffers()[2] or b"")[: ends[-1]])
    else:
        hasher.update(array.fill_null(0).to_numpy())
