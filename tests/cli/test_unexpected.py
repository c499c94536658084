"""Exceptions that nothing foresees are one line, with their traceback in a file."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from scenes import experiment, write_toml

from voxray.cli.app import main
from voxray.runs.status import status_lines


def voxray(*arguments: object) -> int:
    """Exit code of a command."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def fail(*_: object, **__: object) -> None:
    raise KeyError("no such\nthing")


def test_an_unexpected_exception_of_a_stage_is_one_line_and_its_traceback_lies_in_the_runs_folder(
    luna: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_toml(out.parent / "a.toml", experiment(luna, out))
    with monkeypatch.context() as patch:
        patch.setattr("voxray.executors.local.write_shard", fail)
        assert voxray("ingest", file, "--no-ray") == 1
        saved = out / "traceback.txt"
        line = f"voxray: ingest: KeyError: 'no such\\nthing'. The traceback is in {saved}.\n"
        assert capsys.readouterr().err == line
        assert "in fail" in saved.read_text()
        assert status_lines(out, 0)[0].endswith("KeyError: 'no such\\nthing'")
        assert voxray("ingest", file, "--no-ray", "--debug") == 1
        error = capsys.readouterr().err
        assert error.startswith("Traceback (most recent call last)")
        assert error.endswith(line)
    assert voxray("ingest", file, "--no-ray") == 0
    assert not saved.exists()


def test_outside_a_stage_the_traceback_lies_in_the_temporary_folder(tmp_path: Path) -> None:
    (tmp_path / "net.json").write_text("[]")
    program = (
        "from voxray.cli.app import main; from voxray.models.spec import load\n"
        "def fail(*_): raise RuntimeError('odd')\n"
        "load.load_architecture = fail; main()"
    )
    command = [sys.executable, "-c", program, "describe", tmp_path / "net.json", "--input", "1x8x8"]
    process = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert process.returncode == 1
    match = re.fullmatch(r"voxray: describe: RuntimeError: odd\. The traceback is in (.+)\.\n", process.stderr)
    assert match, process.stderr
    assert Path(match[1]).is_relative_to(tempfile.gettempdir())
    assert "RuntimeError: odd" in Path(match[1]).read_text()
    Path(match[1]).unlink()


def test_a_pipe_whose_reader_has_ended_is_no_error(project: Path) -> None:
    path = project / "configs" / "architectures" / "arch3dsm.json"
    command = f"{sys.executable} -m voxray describe {path} --input 1x64x64x10 | true"
    process = subprocess.run(command, shell=True, capture_output=True, encoding="utf-8", check=False)
    assert process.stderr == ""


@pytest.mark.usefixtures("ray_here")
def test_an_unexpected_exception_in_a_task_names_its_shard_and_its_text(luna: Path, out: Path) -> None:
    from voxray.errors import UnexpectedError
    from voxray.executors.ray.shard_tasks import spread_shards

    def work(split: str, shard: int) -> int:
        raise ZeroDivisionError("odd")

    with pytest.raises(UnexpectedError, match=r"^train shard 3: ZeroDivisionError: odd\.") as raised:
        list(spread_shards(work, [("train", 3)], 2**20))
    assert "in work" in raised.value.details
