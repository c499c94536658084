import doctest
import pickle

import pytest

from voxray import errors
from voxray.errors import ConfigError, DataError, NotReadyError, ScanError, StoreError, VoxrayError, WorkError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type)]
ARGUMENTS = ("scan.mhd", "is short, got 3 bytes", "Fetch it again")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not errors.ConfigFileError])
def test_an_error_survives_the_way_back_from_a_worker(kind: type[VoxrayError]) -> None:
    error = kind(*ARGUMENTS)
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind
    assert back.args == error.args == ARGUMENTS
    assert str(back) == str(error) == "scan.mhd: is short, got 3 bytes. Fetch it again."
    assert back.exit_code == error.exit_code


def test_the_remedy_after_a_list_begins_its_line() -> None:
    assert str(DataError("store", "2 scans cannot be used:\n  a\n  b\n", "Repair them")).endswith("\n  b\nRepair them.")


def test_a_users_mistake_and_failed_work_have_different_exit_codes() -> None:
    assert {kind.exit_code for kind in (ConfigError, DataError, NotReadyError)} == {2}
    assert {kind.exit_code for kind in (WorkError, StoreError, ScanError)} == {1}


def test_errors_are_also_those_that_python_programs_catch() -> None:
    with pytest.raises(ValueError, match="is short"):
        raise ConfigError(*ARGUMENTS)
    with pytest.raises(FileNotFoundError, match="is short"):
        raise NotReadyError(*ARGUMENTS)


def test_the_example_of_every_error_is_true() -> None:
    assert all("Examples" in (kind.__doc__ or "") for kind in KINDS)
    results = doctest.testmod(errors)
    assert results.attempted == len(KINDS)
    assert results.failed == 0
