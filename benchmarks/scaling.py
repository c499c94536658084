"""How ingest scales: the same ``.nii.gz`` scans with one CPU and with two, and what the driver does for each row.

The first part ingests on Ray with one CPU and with two in turn, its processes warm, the files in the page cache. The
second plans, prepares and finishes a store of so many patches without reading a scan: the tasks' part files are made
up, and making them is not counted. `ratio` is one CPU's time over two's.
Usage: python benchmarks/scaling.py [--scans 40] [--rounds 3] [--rows 10_000_000] [--skip-ingest]
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from _helpers.clusters import local_cluster
from ingest_nifti import brain_experiment, write_brains

from voxray.config.experiment import Experiment
from voxray.datasets.manifest import QUARANTINE, SAMPLES, SCANS, Manifest
from voxray.patches.plan import plan_patches
from voxray.store.finish import finish_store
from voxray.store.layout import INDEX, StoreInfo
from voxray.store.parts import unfinished_shards, write_part
from voxray.store.prepare import prepare_store
from voxray.store.write import ShardReport

BLOCKS = 1000  # tasks at most: with more shards than that, a task writes several
PER_SCAN = 10
UID = "1.3.6.1.4.1.14519.5.2.1.6279.6001."  # names of scans are as long as real ones
CPUS = 1000
TARGET_ROWS = 10_000_000


@contextmanager
def on_cores(count: int) -> Iterator[None]:
    """This process, and those that it starts, run on so many cores and no other."""
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(every)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, every)


def ingest_seconds(cpus: int, made: list[tuple[Experiment, StoreInfo]]) -> float:
    """Seconds that so many CPUs take for the shards of the last store; those before warm the processes up."""
    from voxray.executors.ray.shard_tasks import write_shards

    # One CPU does the work of the driver and of Ray too.
    with on_cores(cpus), local_cluster(cpus):
        for spec, info in made:
            began = time.perf_counter()
            list(write_shards(spec.store_path, Path(spec.data.root), unfinished_shards(spec.store_path, info)))
            seconds = time.perf_counter() - began
    return seconds


def measure_ingest(scans: int, rounds: int) -> dict[str, float]:
    """One CPU against two, in turn; and seconds of a shard in a plain loop."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = write_brains(folder / "scans", "head", scans)
        few = Manifest(
            manifest.root, manifest.classes, manifest.scans.slice(0, 4), manifest.samples, manifest.quarantine
        )
        times: dict[int, list[float]] = {1: [], 2: []}
        for number in range(rounds):
            for cpus, found in times.items():
                made = []
                for content, out in ((few, "warm"), (manifest, "all")):
                    spec = brain_experiment(folder / "scans", folder / out)
                    spec = spec.model_copy(update={"store": spec.store.model_copy(update={"shard_bytes": 2**23})})
                    shutil.rmtree(folder / out, ignore_errors=True)
                    made.append((spec, prepare_store(spec.store_path, plan_patches(content, spec), content)))
                found.append(ingest_seconds(cpus, made))
                print(f"round {number}: {cpus} CPU {found[-1]:6.2f} s", flush=True)
    middle = {cpus: statistics.median(found) for cpus, found in times.items()}
    shards = sum(made[-1][1].shards.values())
    return {"ratio": middle[1] / middle[2], "shard_s": middle[1] / shards, "shards": shards}


@contextmanager
def timed(name: str, found: dict[str, float]) -> Iterator[None]:
    """Note the processor's seconds of a block, which neighbors on the machine do not change."""
    began = time.process_time()
    yield
    found[name] = time.process_time() - began


def long_list(rows: int) -> Manifest:
    """A list of so many samples, ten of each scan."""
    scans = rows // PER_SCAN
    names = pa.array([f"{UID}{number * 7919 % 10**9:030d}" for number in range(scans)])
    empty = pa.nulls(scans, pa.string())
    paths = pc.binary_join_element_wise("subset/", names, ".nii.gz", "")
    rng = np.random.default_rng(0)
    of_scan = names.take(pa.array(np.repeat(np.arange(scans), PER_SCAN)))
    centers = [rng.uniform(0, 300, rows) for _ in range(3)]
    labels = (np.arange(rows) % PER_SCAN == 0).astype(np.int64)
    return Manifest(
        root=Path("/nowhere"),
        classes=("nothing", "nodule"),
        scans=pa.table([names, names, paths, empty, empty], schema=SCANS),
        samples=pa.table(
            [of_scan, pa.array(np.arange(rows)), *map(pa.array, centers), pa.array(labels)], schema=SAMPLES
        ),
        quarantine=QUARANTINE.empty_table(),
        channels=("ct",),
    )


def write_parts(path: Path, info: StoreInfo, table: pa.Table) -> None:
    """The part files that tasks would have written for a plan's rows."""
    rng = np.random.default_rng(1)
    keys = np.unique(table["split"].to_numpy().astype(str), return_index=True)[1]
    starts = np.union1d(np.flatnonzero(np.diff(table["shard"].to_numpy())) + 1, keys)
    for start, end in pairwise([*starts.tolist(), table.num_rows]):
        part = table.slice(start, end - start)
        count = part.num_rows
        known = {name: part[name] for name in INDEX.names if name in part.column_names}
        checks = {name: pa.array([rng.bytes(16).hex() for _ in range(count)]) for name in ("checksum", "scan_checksum")}
        zeros = pa.array(np.zeros(count, np.int32))
        made = {"rotation": zeros, "statistics": pa.nulls(count, INDEX.field("statistics").type), **checks}
        columns = [(known.get(name) or made.get(name, zeros)) for name in INDEX.names]
        key = str(part["split"][0]), int(part["shard"][0].as_py())
        index = pa.table([c.cast(f.type) for c, f in zip(columns, INDEX, strict=True)], schema=INDEX)
        write_part(path, info, key, index, QUARANTINE.empty_table())


def simulate(rows: int, folder: Path) -> None:
    """What the driver does for a plan of so many rows, printed as JSON."""
    found: dict[str, float] = {}
    spec = Experiment.model_validate(
        {
            "name": "many",
            "out": str(folder / "run"),
            "data": {"layout": "luna16", "root": "/nowhere"},
            "patches": {"size": [64, 64, 10], "negatives_per_positive": "all"},
            "model": {"architecture": "none.json"},
        }
    )
    manifest = long_list(rows)
    listed = peak_gib()
    with timed("plan", found):
        plan = plan_patches(manifest, spec)
    with timed("prepare", found):
        info = prepare_store(spec.store_path, plan, manifest)
    planned = peak_gib()
    del manifest
    with timed("look", found):
        waiting = len(unfinished_shards(spec.store_path, info))
    write_parts(spec.store_path, info, plan.table)
    table_gib = plan.table.nbytes / 2**30
    del plan
    before = peak_gib()
    with timed("look_again", found):
        left = len(unfinished_shards(spec.store_path, info))
    with timed("finish", found):
        finish_store(spec.store_path, info, spec.patches.oversample_rotations, 0.0)
    memory = {
        "list_gib": listed,
        "plan_gib": planned,
        "parts_gib": before,
        "finish_gib": peak_gib(),
        "table_gib": table_gib,
    }
    print(json.dumps({"seconds": found, "shards": waiting, "left": left, **memory}))


def peak_gib() -> float:
    """Most memory that this process has ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def simulated(rows: int) -> dict[str, Any]:
    """`simulate` in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--simulate", folder, "--rows", str(rows)]
        lines = subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout.splitlines()
    result: dict[str, Any] = json.loads(lines[-1])
    return result


def no_work(split: str, shard: int) -> ShardReport:
    """A shard that costs its task nothing."""
    return ShardReport(split, shard, 0, 0, 0, 0.0)


def measure_dispatch(tasks: int = BLOCKS) -> tuple[float, float]:
    """Seconds of the driver's processor for one more task, and bytes that its rows leave in the object store."""
    import ray

    from voxray.executors.ray.shard_tasks import spread_shards

    seconds = []
    with local_cluster(2):
        # Up to so many shards each has a task of its own, and Ray Data's work for one is the driver's cost.
        for count in (10, tasks // 10, tasks):
            began = time.process_time()
            list(spread_shards(no_work, [("train", shard) for shard in range(count)], 2**20))
            seconds.append(time.process_time() - began)
        row = ray.data.from_items([{**asdict(no_work("train", 0)), "needed": 0, "error": ""}]).size_bytes()
    return (seconds[2] - seconds[1]) / (tasks - tasks // 10), float(row or 0)


def print_model(rows: int, driver: dict[str, Any], shard_s: float, dispatch_s: float, row_bytes: float) -> None:
    """Where so many CPUs and scans would hit a limit."""
    per_shard = rows / driver["shards"]
    own = sum(driver["seconds"].values()) / rows
    shards = TARGET_ROWS / per_shard
    print(f"driver      {own * 1e3:.4f} ms of processor a row: {describe(driver['seconds'], rows)}")
    memory = (f"{name} {driver[f'{name}_gib']:.1f}" for name in ("list", "plan", "finish"))
    print(f"memory      {', '.join(memory)} GiB at most until then")
    tasks = min(shards, BLOCKS)
    print(f"dispatch    {dispatch_s * 1e3:.2f} ms of the driver a task, so at most {1 / dispatch_s:,.0f} tasks/s")
    whole = f"{shards * row_bytes / 2**20:.1f} MiB for {shards:,.0f} shards"
    print(f"objects     {row_bytes:.0f} bytes a shard in the object store, {whole}")
    a_task = shards / tasks * shard_s
    print(f"a shard     {shard_s:.2f} s of a CPU; {shards:,.0f} shards in {tasks:,.0f} tasks of {a_task:.0f} s")
    minutes = shards * shard_s / CPUS / 60
    print(f"{CPUS} CPUs   keep the driver busy to {CPUS / a_task * dispatch_s:.0%}, for {minutes:.0f} min")


def describe(seconds: dict[str, float], rows: int) -> str:
    """The parts of the driver's work, in microseconds a row."""
    return ", ".join(f"{name} {spent / rows * 1e6:.2f} µs" for name, spent in seconds.items())


def main() -> None:
    """Measure, and print what it means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=TARGET_ROWS)
    parser.add_argument("--skip-ingest", action="store_true")
    parser.add_argument("--simulate", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.simulate:
        simulate(options.rows, options.simulate)
        return
    # Ray would give its workers way to neighbors.
    os.environ.update({"RAY_worker_niceness": "0", "OMP_NUM_THREADS": "1", "RAY_DATA_LOG_LEVEL": "ERROR"})
    result: dict[str, Any] = {"benchmark": "scaling", "rows": options.rows}
    driver = simulated(options.rows)
    result["driver_ms_per_row"] = round(sum(driver["seconds"].values()) / options.rows * 1e3, 5)
    result["driver_gib"] = round(max(driver["plan_gib"], driver["finish_gib"]), 1)
    dispatch_s, row_bytes = measure_dispatch()
    ingested = {"shard_s": 1.0} if options.skip_ingest else measure_ingest(options.scans, options.rounds)
    print_model(options.rows, driver, ingested["shard_s"], dispatch_s, row_bytes)
    if "ratio" in ingested:
        result["ratio"] = round(ingested["ratio"], 2)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
