import subprocess
import sys
from pathlib import Path

import pytest
from scenes import experiment

from voxray.errors import ConfigError, NotReadyError, ScanError, VoxrayError
from voxray.executors import get_executor


def test_the_local_executor_imports_no_ray() -> None:
    code = (
        "import sys; from voxray.executors import get_executor; get_executor('local'); assert 'ray' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_executor_is_a_mistake_that_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="expected 'local' or 'ray', got 'dask'"):
        get_executor("dask")


def test_a_search_needs_ray(luna: Path, out: Path) -> None:
    executor = get_executor("local")
    with (
        executor.session(),
        pytest.raises(ConfigError, match=r"runs its trials on Ray.* Use the Ray executor"),
    ):
        executor.check_trials(experiment(luna, out).training)


@pytest.mark.usefixtures("ray_here")
@pytest.mark.parametrize("kind", [ConfigError, NotReadyError, ScanError])
def test_an_error_comes_back_from_ray_as_it_was_raised(kind: type[VoxrayError]) -> None:
    import ray

    from voxray.executors.ray.progress_actor import failure_row, raise_failure

    @ray.remote
    def fail() -> None:
        raise kind("scan.mhd", "is short, got 3 bytes", "Fetch it again")

    with pytest.raises(kind) as raised:
        ray.get(fail.remote())
    assert raised.value.cause.args == ("scan.mhd", "is short, got 3 bytes", "Fetch it again")  # type: ignore[attr-defined]
    with pytest.raises(kind, match=r"scan\.mhd: is short, got 3 bytes\. Fetch it again\.") as again:
        raise_failure({"error": failure_row(raised.value.cause, "train shard 0")})  # type: ignore[attr-defined]
    assert again.value.exit_code == kind.exit_code
