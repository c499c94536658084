"""Ingest in steps, without Ray and without a command line."""

from pathlib import Path

from voxray.config.experiment import Experiment
from voxray.datasets.layouts import read_manifest
from voxray.patches.measure import measure_scans
from voxray.patches.plan import plan_patches
from voxray.store.finish import StoreSummary, finish_store
from voxray.store.metadata import read_info
from voxray.store.parts import unfinished_shards
from voxray.store.prepare import prepare_store
from voxray.store.read import PatchStore, open_store
from voxray.store.write import write_shard


def begin(spec: Experiment) -> list[tuple[str, int]]:
    """Prepare the store; the shards that wait."""
    manifest = read_manifest(spec.data)
    if spec.patches.sampling == "grid":
        manifest = measure_scans(manifest, spec.patches)
    info = prepare_store(spec.store_path, plan_patches(manifest, spec), manifest)
    return unfinished_shards(spec.store_path, info)


def write(spec: Experiment, keys: list[tuple[str, int]]) -> None:
    for split, shard in keys:
        write_shard(spec.store_path, spec.data_path, split, shard)


def finish(spec: Experiment) -> StoreSummary:
    info = read_info(spec.store_path)
    assert info is not None
    return finish_store(spec.store_path, info, spec.patches.oversample_rotations, spec.store.max_quarantined)


def ingest(spec: Experiment) -> PatchStore:
    write(spec, begin(spec))
    finish(spec)
    return open_store(spec.store_path)


def contents(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}
