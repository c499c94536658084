import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from chests import SCANS, write_chests
from scenes import SMALL_NET, experiment

from voxray.executors.base import Executor
from voxray.executors.local import LocalExecutor
from voxray.executors.ray.executor import RayExecutor
from voxray.stages.pipeline import run

pytestmark = [pytest.mark.usefixtures("ray_here"), pytest.mark.faults]


def test_two_rounds_find_the_same_in_whole_scans_with_and_without_ray_and_folds_are_joined(tmp_path: Path) -> None:
    write_chests(tmp_path / "data")
    # Dropout is drawn by each worker.
    (tmp_path / "architecture.json").write_text(SMALL_NET.replace('"drop_out": 10', '"drop_out": 0'))

    def run_two_rounds(out: str, executor: Executor, **split: int) -> Path:
        spec = experiment(
            tmp_path / "data",
            tmp_path / out,
            split={"folds": 2, "val": 0.25, **split},
            patches={"size": [8, 8, 4], "negatives_per_positive": 2},
            training={"epochs": 1, "batch_size": 8, "device": "cpu"},
            detection={"rounds": 2, "max_proposals": 20},
            model={"architecture": str(tmp_path / "architecture.json")},
        )
        run(spec, executor, lambda line: None)
        return tmp_path / out

    def found(out: Path) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((out / "metrics.json").read_text())["test"]["whole_scans"]
        return content

    here, there = run_two_rounds("here", LocalExecutor()), run_two_rounds("there", RayExecutor(), fold=0)
    for number in (Path(), Path("round_1")):
        joined, first, second = found(here / number), found(here / "fold_0" / number), found(there / number)
        assert (joined["nodules"], first["nodules"]) == (SCANS, SCANS / 2)
        for name in ("cpm", "proposal_sensitivity", "proposals_per_scan", "threshold"):
            assert second[name] == pytest.approx(first[name], rel=1e-4)
        assert first["proposal_sensitivity"] > 0.5
    tables = [pq.read_table(out / "predictions/test_findings.parquet") for out in (here / "fold_0", there)]
    assert tables[0]["scan_id"].to_pylist() == tables[1]["scan_id"].to_pylist()
    np.testing.assert_allclose(*(table["probability"].to_numpy() for table in tables), rtol=1e-4)
