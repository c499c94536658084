from pathlib import Path

from voxray.storage.machine import machine_memory


def test_memory_is_that_of_the_container_where_it_is_limited(tmp_path: Path) -> None:
    whole = machine_memory(())
    assert whole > 2**28
    limit = tmp_path / "memory.max"
    limit.write_text("123456789\n")
    assert machine_memory((limit, tmp_path / "absent")) == 123456789
    limit.write_text("max\n")
    assert machine_memory((limit,)) == whole
