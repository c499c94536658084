"""A disk that is full at any write of an ingest."""

import errno
from pathlib import Path

import pytest
from ingesting import contents
from scenes import experiment, write_luna

from voxray.errors import WorkError
from voxray.executors.local import LocalExecutor
from voxray.stages.ingest import ingest
from voxray.storage import atomic


def test_a_disk_that_is_full_at_any_write_is_one_line_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_luna(tmp_path / "luna", 4)
    (tmp_path / "architecture.json").write_text('[{"type": "T", "activation": null}]')
    publish, written = atomic.publish, [0]

    def counted(unfinished: Path, path: Path, *, full_at: int) -> None:
        if "store" in path.parts:
            written[0] += 1
            if written[0] == full_at:
                raise OSError(errno.ENOSPC, "No space left on device")
        publish(unfinished, path)

    def run(folder: str, full_at: int) -> dict[str, bytes]:
        spec = experiment(tmp_path / "luna", tmp_path / "run", store={"path": str(tmp_path / folder / "store")})
        written[0] = 0
        monkeypatch.setattr(atomic, "publish", lambda *paths: counted(*paths, full_at=full_at))
        ingest(spec, LocalExecutor(), lambda line: None)
        return contents(spec.store_path)

    whole = run("whole", -1)
    for number in range(1, written[0] + 1):
        with pytest.raises(WorkError, match=r"the disk is full .*Free some space, then re-run the same command"):
            run(str(number), number)
        assert run(str(number), -1) == whole
