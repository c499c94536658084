import os
import re
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from scenes import experiment, write_toml

from voxray.executors.ray.connect import CPUS_BESIDE_GPU, count_schedulable_workers, max_cpus_per_worker

nodes = st.lists(
    st.fixed_dictionaries({"CPU": st.integers(0, 64).map(float)}, optional={"GPU": st.integers(0, 8).map(float)}),
    max_size=5,
)


@given(nodes, st.integers(1, 20), st.integers(0, 1))
def test_a_share_is_as_large_as_all_workers_can_have_on_one_node_each(
    cluster: list[dict[str, float]], workers: int, gpus: int
) -> None:
    share = max_cpus_per_worker(cluster, workers, gpus)
    if share:
        assert count_schedulable_workers(cluster, share, gpus) >= workers
    if not gpus or share < CPUS_BESIDE_GPU:
        assert count_schedulable_workers(cluster, share + 1, gpus) < workers


def test_no_worker_lies_on_two_nodes() -> None:
    assert max_cpus_per_worker([{"CPU": 3.0}, {"CPU": 3.0}], 2, 0) == 3
    assert max_cpus_per_worker([{"CPU": 3.0}, {"CPU": 3.0}], 3, 0) == 1
    assert max_cpus_per_worker([{"CPU": 1.0}, {"CPU": 3.0}], 2, 0) == 1
    assert max_cpus_per_worker([{"CPU": 8.0, "GPU": 1.0}, {"CPU": 64.0}], 1, 1) == CPUS_BESIDE_GPU
    assert max_cpus_per_worker([{"CPU": 8.0, "GPU": 1.0}, {"CPU": 64.0}], 2, 1) == 0


def test_a_ray_that_cannot_start_says_what_to_try(luna: Path, out: Path, tmp_path: Path) -> None:
    file = write_toml(tmp_path / "a.toml", experiment(luna, out))
    program = [str(Path(sys.executable).with_name("voxray")), "ingest", str(file)]
    changes = [
        (
            {"RAY_TMPDIR": str(tmp_path / ("long" * 30))},
            "ray: does not start: .*107 bytes.*Use --no-ray, set RAY_TMPDIR",
        ),
        ({"RAY_ADDRESS": "127.0.0.1:9"}, "127.0.0.1:9: cannot be reached: .*Check RAY_ADDRESS"),
    ]
    for change, message in changes:
        environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | change
        process = subprocess.run(program, env=environment, capture_output=True, encoding="utf-8", check=False)
        assert process.returncode == 1
        assert re.match(rf"voxray: {message}", process.stderr), process.stderr
        assert process.stderr.count("\n") == 1
