"""Detection on a phantom LUNA16: proposals, networks and hard negatives compared by CPM, in one table.

    python benchmarks/detection.py runs/phantom_detection                                # all rows
    python benchmarks/detection.py runs/phantom_detection --rows log_arch3dsm --rounds 1   # from the phantom to CPM

Each row is a cross-validation by patient whose networks search the whole scans of their test folds; two rounds give the
metrics of the first one too. Finished runs are reused, so that the same command resumes. The table is Markdown, the
last line JSON.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from voxray.cli.app import main
from voxray.config.rounds import FIRST

PROJECT = Path(__file__).resolve().parents[1]
EXPERIMENTS = PROJECT / "configs/experiments"
UNET = "proposals_unet3d"
# Settings by row; {folder} is that of the benchmark.
ROWS = {
    "log_archsm": (
        "LoG + `archsm`",
        (f"model.architecture={PROJECT / 'configs/architectures/archsm.json'}", "patches.size=[32, 32]"),
    ),
    "log_arch3dsm": ("LoG + `arch3dsm`", ()),
    "unet_arch3dsm": (
        "U-Net + `arch3dsm`",
        ("detection.proposals=model", f"detection.model={{folder}}/{UNET}"),
    ),
}
RESULTS = ("proposal_sensitivity", "proposals_per_scan", "cpm", "sensitivity_at/1")
HEADER = """\
| proposals and classifier | rounds | proposals' sensitivity | proposals a scan | CPM | sensitivity at 1 FP a scan |
|---|---|---|---|---|---|"""


def run(*words: str) -> None:
    """Run a command of voxray."""
    try:
        main(list(words))
    except SystemExit as end:
        if end.code:
            raise


def train(experiment: str, folder: Path, name: str, settings: list[str]) -> Path:
    """Run all stages of an experiment; returns the run's folder."""
    out = folder / name
    common = [f"name={name}", f"out={out}", f"data.root={folder / 'phantom'}", *settings]
    run("run", str(EXPERIMENTS / experiment), "--no-ray", *(word for each in common for word in ("--set", each)))
    return out


def measure(folder: Path, row: str, rounds: int, settings: list[str]) -> list[dict[str, Any]]:
    """The metrics of whole scans of a row, for each round."""
    of_row = [each.format(folder=folder) for each in ROWS[row][1]]
    began = time.perf_counter()
    out = train("phantom_detection.toml", folder, row, [*settings, *of_row, f"detection.rounds={rounds}"])
    seconds = round(time.perf_counter() - began)
    runs = [out] if rounds == 1 else [out / FIRST, out]
    return [{"row": row, "rounds": number, "seconds": seconds, **read(each)} for number, each in enumerate(runs, 1)]


def read(out: Path) -> dict[str, Any]:
    """Value and interval of each result of a run's whole scans."""
    found = json.loads((out / "metrics.json").read_text())["test"]["whole_scans"]
    return {name: (found[name], found["intervals"].get(name)) for name in RESULTS}


def line(result: dict[str, Any]) -> str:
    """A row of the table."""
    sensitivity, per_scan, cpm, at_one = (_text(*result[name], digits=name != RESULTS[1]) for name in RESULTS)
    name = ROWS[result["row"]][0]
    return f"| {name} | {result['rounds']} | {sensitivity} | {per_scan} | {cpm} | {at_one} |"


def _text(value: float | None, interval: list[float] | None, *, digits: bool) -> str:
    def number(each: float) -> str:
        return f"{each:.3f}".removeprefix("0") if digits else f"{each:.0f}"

    if value is None:
        return "-"
    ends = f" [{', '.join(map(number, interval))}]" if interval else ""
    return number(value) + ends


def benchmark(folder: Path, options: argparse.Namespace) -> None:
    """Print the table of the chosen rows."""
    began = time.perf_counter()
    phantom = folder / "phantom"
    if not (phantom / "annotations_excluded.csv").exists():  # the last file that is written
        size = ["--scans", str(options.scans), "--matrix", str(options.matrix)]
        run("phantom", "luna16", str(phantom), *size)
    folds = [f"split.folds={options.folds}", "tracking.mode=disabled"]
    epochs = [] if options.epochs is None else [f"training.epochs={options.epochs}"]
    if "unet_arch3dsm" in options.rows:
        train("phantom_proposals_unet3d.toml", folder, UNET, [*folds, *epochs])
    results = [of_round for row in options.rows for of_round in measure(folder, row, options.rounds, [*folds, *epochs])]
    print("\n".join([HEADER, *map(line, results)]))
    seconds = round(time.perf_counter() - began)
    print(json.dumps({"benchmark": "detection", "seconds": seconds, "results": results}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--rounds", type=int, choices=(1, 2), default=2)
    parser.add_argument("--scans", type=int, default=60)
    parser.add_argument("--matrix", type=int, default=200, help="pixels along a slice's side")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--epochs", type=int, help="of every network; by default those of the experiments")
    chosen = parser.parse_args()
    benchmark(chosen.folder.resolve(), chosen)
