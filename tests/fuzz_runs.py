"""The files of a small finished run and its store, which malformed copies are made of."""

import os
import tempfile
from functools import cache
from pathlib import Path

from scenes import SMALL_NET, experiment, write_luna

from voxray.executors.local import LocalExecutor
from voxray.stages.evaluate import evaluate
from voxray.stages.ingest import ingest
from voxray.stages.train import train


@cache
def finished_run() -> dict[str, bytes]:
    """The files of a run's folder, by their path relative to it; the store is in ``store``."""
    os.environ["WANDB_MODE"] = "disabled"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "luna")
        write_luna(root, 8, bright=900, shape=(24, 22, 10))
        (Path(folder) / "architecture.json").write_text(SMALL_NET)
        spec = experiment(root, Path(folder, "run"), training={"epochs": 1})
        for stage in (ingest, train, evaluate):
            stage(spec, LocalExecutor(), lambda line: None)
        files = [path for path in Path(spec.out).rglob("*") if path.is_file()]
        return {str(path.relative_to(spec.out)): path.read_bytes() for path in files}
