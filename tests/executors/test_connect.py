from hypothesis import given
from hypothesis import strategies as st

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
