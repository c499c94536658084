import pickle

import pytest

from voxray.errors import ConfigError, DataError, ScanError, StoreError, VoxrayError, WorkError


@pytest.mark.parametrize("kind", [VoxrayError, ConfigError, DataError, ScanError, StoreError, WorkError])
def test_an_error_survives_the_way_back_from_a_worker(kind: type[VoxrayError]) -> None:
    error = kind("scan.mhd", "is short, got 3 bytes", "Fetch it again")
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind
    assert str(back) == str(error) == "scan.mhd: is short, got 3 bytes. Fetch it again."
    assert back.exit_code == error.exit_code


def test_a_users_mistake_and_failed_work_have_different_exit_codes() -> None:
    assert {kind.exit_code for kind in (ConfigError, DataError)} == {2}
    assert {kind.exit_code for kind in (WorkError, StoreError)} == {1}
