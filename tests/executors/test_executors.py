import subprocess
import sys
from pathlib import Path

import pytest
from scenes import experiment

from voxray.errors import ConfigError
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
