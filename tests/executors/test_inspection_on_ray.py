import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from inspection_scenes import write_defects

from voxray.errors import DataError
from voxray.executors.local import LocalExecutor
from voxray.executors.ray.executor import RayExecutor
from voxray.stages.inspect import inspect

pytestmark = pytest.mark.usefixtures("ray_here")


def quiet(line: str) -> None:
    """Swallow what a stage says."""


def test_a_data_set_looks_the_same_with_and_without_ray(tmp_path: Path) -> None:
    root = tmp_path / "scans"
    write_defects(root)
    for name, executor in (("plain", LocalExecutor()), ("spread", RayExecutor())):
        inspect(root, executor, quiet, out=tmp_path / name, voxels=True)
    plain, spread = tmp_path / "plain", tmp_path / "spread"
    assert pq.read_table(plain / "scans.parquet").equals(pq.read_table(spread / "scans.parquet"))
    for name in ("inspection.json", "inspection.html"):
        assert (plain / name).read_bytes() == (spread / name).read_bytes()
    assert json.loads((plain / "inspection.json").read_text())["errors"] == 10


def test_an_error_of_the_whole_is_the_same_too(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no known layout, no scan"):
        inspect(tmp_path, RayExecutor(), quiet, out=tmp_path / "out")
