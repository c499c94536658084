"""Voxray's loader against those that users have today, on patches for classification and crops for segmentation.

    python -m venv peers && peers/bin/pip install -c constraints.txt -e . -r benchmarks/peers.txt
    peers/bin/pip install --no-deps mosaicml-streaming==0.13.0   # it asks for an older NumPy
    peers/bin/python benchmarks/peers.py [--tasks classification segmentation] [--rounds 5] [--json peers.json]

Every loader gives the same batches: float32 scaled to [0, 1], and labels or label maps, checked against the volumes.
Files are in the page cache. In each round the loaders take turns, each in a process of its own, with an epoch that is
not measured and then `--epochs` that are; each process computes with one thread, and loaders with processes have one
for each CPU. `ratio` is a loader's rate over Voxray's in the same round. CPU seconds are
those of all its processes. Memory is the peak of private and shared memory of its processes, from opening the data to
the end of the first epoch, without pages of files. Disk is what an epoch reads.
"""

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from _helpers.contestants import CONTESTANTS, Contestant
from _helpers.peer_data import TASKS, PeerData, check_same, fingerprints, write_data
from _helpers.watching import watching

OURS = "voxray"
EVERY_S = 0.05
MIB = 2**20


def processes() -> list[psutil.Process]:
    """This process and those that it has started."""
    here = psutil.Process()
    return [here, *here.children(recursive=True)]


def held_bytes() -> int:
    """Memory of this process and its children that is no page of a file; shared pages are counted once."""
    total = 0
    for process in processes():
        try:
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):  # it has ended
            continue
        total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon", "Pss_Shmem")))
    return total


def cpu_seconds() -> float:
    """CPU time of this process and its children, those that have ended included."""
    times = os.times()
    total = times.user + times.system + times.children_user + times.children_system
    for child in processes()[1:]:
        try:
            total += sum(child.cpu_times()[:2])
        except psutil.NoSuchProcess:
            continue
    return total


def measure(contestant: Contestant, data: PeerData, folder: Path, epochs: int) -> dict[str, Any]:
    """Check an epoch and measure its memory, then measure the speed of others."""
    peak = 0

    def look() -> None:
        nonlocal peak
        peak = max(peak, held_bytes())

    with watching(look, EVERY_S):
        batches = contestant.open(data, folder)
        found = [value for batch in batches(0) for value in fingerprints(*batch)]
    check_same(data, found, each_once=contestant.each_once)
    rates, cpu = [], []
    for epoch in range(1, epochs + 1):
        began, used = time.perf_counter(), cpu_seconds()
        count = sum(len(images) for images, _ in batches(epoch))
        rates.append(count / (time.perf_counter() - began))
        cpu.append(1000 * (cpu_seconds() - used) / count)
    return {"rate": statistics.median(rates), "cpu_s": statistics.median(cpu), "memory": peak}


def run_alone(*words: str) -> dict[str, Any]:
    """What this program says in a process of its own; `problem` where it fails."""
    command = [sys.executable, str(Path(__file__)), *words]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    if done.returncode:
        return {"problem": lines[-1] if lines else f"exit code {done.returncode}"}
    result: dict[str, Any] = json.loads(lines[-1])
    return result


def bytes_of(paths: Sequence[Path]) -> int:
    """Size of files and of all files in folders."""
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*"))]
    return sum(file.stat().st_size for file in files if file.is_file())


def missing(contestant: Contestant, task: str) -> str:
    """Why a loader cannot take part; empty if it can."""
    if task not in contestant.tasks:
        return f"not for {task}"
    absent = [name for name in contestant.modules if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


def compete(data: PeerData, names: Sequence[str], rounds: int, epochs: int) -> list[dict[str, Any]]:
    """A row for each loader."""
    rows = {name: {"name": name, "problem": missing(CONTESTANTS[name], data.task.name)} for name in names}
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in names}

    def take_part(name: str, epochs: int) -> dict[str, Any]:
        words = ["--only", name, "--folder", str(data.folder), "--tasks", data.task.name, "--epochs", str(epochs)]
        result = run_alone(*words)
        rows[name]["problem"] = result.get("problem", "")
        return result

    for name in names:
        if not rows[name]["problem"]:
            take_part(name, 0)  # writes its files
    for number in range(rounds):
        for name in names:
            if not rows[name]["problem"]:
                result = take_part(name, epochs)
                results[name].append(result)
                print(f"{data.task.name}, round {number}, {name}: {result}", file=sys.stderr)
    for name, row in rows.items():
        if not row["problem"]:
            values = results[name]
            row |= {key: statistics.median(value[key] for value in values) for key in ("rate", "cpu_s", "memory")}
            row["ratio"] = statistics.median(
                value["rate"] / ours["rate"] for value, ours in zip(values, results[OURS], strict=True)
            )
            row["disk"] = bytes_of(CONTESTANTS[name].reads(data, data.folder / name))
    return list(rows.values())


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as Markdown, the fastest first."""
    lines = [
        "| loader | samples/s | ratio | CPU s per 1,000 | peak memory, MiB | disk, MiB |",
        "|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: -row.get("rate", 0)):
        cells = [row["problem"], *["–"] * 4]
        if not row["problem"]:
            rate, used = f"{row['rate']:,.0f}", f"{row['cpu_s']:.2f}"
            sizes = [f"{row[key] / MIB:,.0f}" for key in ("memory", "disk")]
            cells = [rate, f"{row['ratio']:.2f}", used, *sizes]
        lines.append(f"| {CONTESTANTS[row['name']].label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def take_turn(name: str, data: PeerData, epochs: int) -> None:
    """What a process of its own does: writes the files of a loader, or measures it."""
    contestant, folder = CONTESTANTS[name], data.folder / name
    if not epochs:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        contestant.prepare(data, folder)
        print(json.dumps({}))
        return
    print(json.dumps(measure(contestant, data, folder, epochs)), flush=True)
    # Loaders that keep processes may wait for them at the end.
    for child in psutil.Process().children(recursive=True):
        child.kill()
    os._exit(0)


def main() -> None:
    """Measure all loaders in turn and print a table for each task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--loaders", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--volumes", type=int, help="of each task, by default 10 and 16: 4,000 patches and 64 crops")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the rows here too")
    parser.add_argument("--only", choices=CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        take_turn(options.only, PeerData(TASKS[options.tasks[0]], options.folder), options.epochs)
        return
    names = list(dict.fromkeys([OURS, *options.loaders]))
    tables: dict[str, list[dict[str, Any]]] = {}
    for task in options.tasks:
        with tempfile.TemporaryDirectory() as folder:
            data = PeerData(TASKS[task], Path(folder))
            write_data(data, options.volumes or data.task.volumes)
            tables[task] = compete(data, names, options.rounds, options.epochs)
        print(f"\n{task}\n\n{table(tables[task])}\n", flush=True)
    if options.json:
        options.json.write_text(json.dumps(tables, indent=1))
    problems = {task: {row["name"]: row["problem"] for row in rows if row["problem"]} for task, rows in tables.items()}
    print(json.dumps({"benchmark": "peers", "problems": problems}))


if __name__ == "__main__":
    main()
