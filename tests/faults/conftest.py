"""Fixtures of the tests with faults."""

import os
from collections.abc import Iterator

import pytest
from faults.matrix import Lab

WORKERS = 2


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Begun and finished stages, from which cases start."""
    lab = Lab(tmp_path_factory.mktemp("lab"), WORKERS)
    yield lab
    lab.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what only ``make faults`` runs."""
    if "VOXRAY_FAULTS" in os.environ:
        return
    for item in items:
        if item.get_closest_marker("faults"):
            item.add_marker(pytest.mark.skip(reason="long: make faults"))
