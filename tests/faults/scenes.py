"""Small experiments with all their files, as starting points of the kill matrix."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import tomli_w

from voxray.phantom.decathlon import write_decathlon

NETWORK = """[
  {"type": "C", "activation": "relu", "num_output": 2, "kernel_size": [3, 3], "stride": [1, 1]},
  {"type": "P", "pool": "max", "kernel_size": [2, 2], "stride": [2, 2]},
  {"type": "FC", "activation": "relu", "num_output": 4, "drop_out": 10},
  {"type": "T", "activation": null}
]"""

UNET = {
    "type": "unet",
    "dimensions": 2,
    "down": [[2], [4]],
    "up": [[2]],
    "normalization": "instance",
    "output": {"activation": "softmax"},
}

SPACE = """{
  "architecture": [
    {"type": "C", "activation": "relu", "num_output": {"choice": [2, 3, 4]}, "kernel_size": [3, 3], "stride": [1, 1]},
    {"type": "P", "pool": "max", "kernel_size": [2, 2], "stride": [2, 2]},
    {"type": "FC", "activation": "relu", "num_output": {"choice": [4, 100000]}, "drop_out": 10},
    {"type": "T", "activation": null}
  ],
  "experiment": {"training.learning_rate": {"log_uniform": [1e-4, 1e-2]}}
}"""

TOML = "experiment.toml"
HERE = "/proc/self/cwd"  # paths in an experiment become absolute: so that a folder may be copied, they are in this one


@dataclass(frozen=True)
class Stage:
    """A command, and those that run before it; faults strike the files that match `files`."""

    scene: str
    command: tuple[str, ...]
    earlier: tuple[tuple[str, ...], ...] = ()
    files: str = ""


def _of_experiment(name: str) -> tuple[str, ...]:
    return (name, TOML) if name == "report" else (name, TOML, "--no-ray")


_INGEST, _TRAIN, _EVALUATE, _REPORT, _RUN = map(_of_experiment, ("ingest", "train", "evaluate", "report", "run"))
_TUNE = ("tune", TOML, "--space", "space.json", "--out", "search", "--metric", "val/loss", "--trials", "2")
STAGES = {
    "ingest": Stage("classes", _INGEST),
    "train": Stage("classes", _TRAIN, (_INGEST,)),
    "evaluate": Stage("classes", _EVALUATE, (_INGEST, _TRAIN)),
    "report": Stage("classes", _REPORT, (_INGEST, _TRAIN, _EVALUATE)),
    "predict": Stage("classes", ("predict", "run", "data/s0.nii.gz", "--out", "answers", "--no-ray"), (_RUN,)),
    "inspect": Stage("sound", ("inspect", "data", "--voxels", "--out", "inspection", "--no-ray")),
    "tune": Stage(
        "classes", (*_TUNE, "--max-parameters", "10000", "--start", "large.json", "--start", "other.json"), (_INGEST,)
    ),
    "ingest-masks": Stage("masks", _INGEST),
    "train-masks": Stage("masks", _TRAIN, (_INGEST,)),
    "evaluate-masks": Stage("masks", _EVALUATE, (_INGEST, _TRAIN)),
    "predict-masks": Stage(
        "masks",
        ("predict", "run", "data/imagesTr/BRATS_001.nii.gz", "--out", "answers", "--probabilities", "--no-ray"),
        (_RUN,),
    ),
    "run": Stage("classes", _RUN),
    "run-masks": Stage("masks", _RUN, files="run/predictions/"),
    "run-folds": Stage("folds", _RUN, files="run/[^/]*$|run/predictions/"),
}


def write_scene(folder: Path, scene: str, seed: int, here: str = HERE) -> None:
    """The data, the experiment and the network of a scene; its paths are in `here`, another name of the folder."""
    folder.mkdir(parents=True)
    data = folder / "data"
    data.mkdir()
    content: dict[str, Any] = {
        "name": "small",
        "out": f"{here}/run",
        "split": {"val": 0.25, "test": 0.25},
        "store": {"path": f"{here}/store", "chunk_bytes": 512, "shard_bytes": 1024, "max_quarantined": 0.3},
        "model": {"architecture": f"{here}/architecture.json"},
        "training": {"epochs": 1, "batch_size": 4, "learning_rate": 0.01, "device": "cpu"},
        "tracking": {"mode": "disabled"},
    }
    if scene == "masks":
        write_decathlon(data, cases=6, seed=seed, shape=(24, 24, 24))
        content |= {
            "data": {"layout": "decathlon", "root": f"{here}/data"},
            "patches": {"size": [24, 24, 1], "sampling": "grid", "oversample_rotations": [], "pad_value": 0},
            "intensity": {"kind": "zscore_nonzero"},
        }
        content["store"] |= {"dtype": "float32", "chunk_bytes": 2**16, "shard_bytes": 2**18}
        content["training"] |= {"loss": "dice", "monitor": "dice", "batch_size": 16}
        (folder / "architecture.json").write_text(json.dumps(UNET))
    else:
        write_chests(data, seed, broken=scene == "classes")
        content |= {
            "data": {"layout": "table", "root": f"{here}/data", "classes": ["well", "ill"]},
            "patches": {
                "size": [8, 8, 1],
                "sampling": "resized",
                "negatives_per_positive": "all",
                "oversample_rotations": [],
            },
        }
        (folder / "architecture.json").write_text(NETWORK)
    if scene == "folds":
        content["split"] = {"folds": 2, "val": 0.4}
    (folder / TOML).write_text(tomli_w.dumps(content))
    (folder / "space.json").write_text(SPACE)
    (folder / "other.json").write_text(NETWORK.replace('"num_output": 2', '"num_output": 3'))
    (folder / "large.json").write_text(NETWORK.replace('"num_output": 4', '"num_output": 100000'))


def write_chests(root: Path, seed: int, *, broken: bool, scans: int = 16) -> None:
    """A table of small scans with and without a bright box; the last one may be one that cannot be read."""
    rng = np.random.default_rng(seed)
    lines = ["path,label,patient_id"]
    for number in range(scans):
        voxels = rng.integers(-1000, -600, (10, 11, 4)).astype(np.int16)
        if number % 2:
            voxels[3:7, 4:8] = 200
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([-1.0, 1.0, 2.0, 1.0])), root / f"s{number}.nii.gz")
        lines.append(f"s{number}.nii.gz,{('well', 'ill')[number % 2]},p{number}")
    if broken:
        last = root / f"s{scans - 1}.nii.gz"
        last.write_bytes(last.read_bytes()[:200])
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
