"""Signals that arrive while a command works, here in this process: at a point that each test chooses."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from api_runs import ApiRuns
from scenes import experiment, write_toml

from voxray.cli.app import main

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
WORK = {
    "ingest": "voxray.executors.local.write_shard",
    "train": "voxray.executors.local.fit",
    "evaluate": "voxray.executors.local.predict_split",
    "report": "voxray.reporting.run.page.write_report",
}


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    earlier = {number: signal.getsignal(number) for number in CODES}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background, the shell has it ignored
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and nohup this one
    yield
    for number, handler in earlier.items():
        signal.signal(number, handler)


def voxray(*arguments: object) -> int:
    """Exit code of a command."""
    words = list(map(str, arguments))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["voxray", *words])
        with pytest.raises(SystemExit) as ended:
            main(words)
    return int(ended.value.code or 0)


def interrupting(*numbers: signal.Signals) -> Callable[..., None]:
    """Work during which these signals arrive."""

    def work(*_: object, **__: object) -> None:
        for number in numbers:
            os.kill(os.getpid(), number)
        time.sleep(30)

    return work


def states(folder: Path) -> dict[str, str]:
    return {name: stage["state"] for name, stage in json.loads((folder / "status.json").read_text()).items()}


@pytest.mark.parametrize(("number", "code"), CODES.items())
def test_every_stage_that_a_signal_interrupts_says_how_to_resume_and_resumes(
    luna: Path, out: Path, capsys: pytest.CaptureFixture[str], number: signal.Signals, code: int
) -> None:
    file = write_toml(out.parent / "a.toml", experiment(luna, out, training={"epochs": 1}))
    for stage, work in WORK.items():
        command = [stage, file, *([] if stage == "report" else ["--no-ray"])]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(work, interrupting(number))
            if stage == "train":  # which ends where its work can be saved, but for Ctrl-C
                from voxray.training import loop

                patch.setattr(loop, "STOP_CHECK_S", 0)
                patch.setattr(work, _train_and_interrupt(number))
            assert voxray(*command) == code
        resume = f"voxray: interrupted; finished work is kept. Resume with: voxray {' '.join(map(str, command))}\n"
        error = capsys.readouterr().err
        assert error.endswith(resume)
        assert "Traceback" not in error
        assert states(out)[stage] == "interrupted"
        assert voxray(*command) == 0
        assert states(out)[stage] == "finished"


def _train_and_interrupt(number: signal.Signals) -> Callable[..., None]:
    from voxray.training.fit import fit

    def work(*positional: object, **named: object) -> None:
        os.kill(os.getpid(), number)
        fit(*positional, **named)  # type: ignore[arg-type]

    return work


@pytest.mark.parametrize(("number", "code"), CODES.items())
def test_commands_without_a_run_end_in_the_same_way(
    luna: Path,
    api_runs: ApiRuns,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
    code: int,
) -> None:
    commands = {
        "voxray.executors.local.inspect_scans": ["inspect", luna, "--out", tmp_path / "seen", "--no-ray"],
        "voxray.executors.local.predict_here": [
            *("predict", api_runs.classifier, api_runs.scan),
            *("--out", tmp_path / "predicted", "--no-ray"),
        ],
        "voxray.phantom.mosmed.write_mosmed": ["phantom", "mosmed", tmp_path / "phantom"],
    }
    for work, command in commands.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(work, interrupting(number))
            assert voxray(*command) == code
        error = capsys.readouterr().err
        assert f"Resume with: voxray {command[0]} " in error
        assert "Traceback" not in error
    assert states(tmp_path / "seen") == {"inspect": "interrupted"}
    assert states(tmp_path / "predicted") == {"predict": "interrupted"}


def test_signals_that_follow_the_first_do_not_disturb_the_cleanup(
    luna: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_toml(out.parent / "a.toml", experiment(luna, out))
    with pytest.MonkeyPatch.context() as patch:
        from voxray.runs import status

        written = status.write_json

        def write(path: Path, content: dict[str, dict[str, str]]) -> None:
            if content["ingest"]["state"] == "interrupted":
                os.kill(os.getpid(), signal.SIGHUP)
                os.kill(os.getpid(), signal.SIGTERM)
            written(path, content)

        patch.setattr(status, "write_json", write)
        patch.setattr(WORK["ingest"], interrupting(signal.SIGTERM, signal.SIGTERM, signal.SIGINT))
        assert voxray("ingest", file, "--no-ray") == 143
    assert states(out)["ingest"] == "interrupted"
    error = capsys.readouterr().err
    assert error.count("Resume with") == 1
    assert "Traceback" not in error


def test_a_program_whose_terminal_may_close_works_on(luna: Path, out: Path) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what nohup does
    file = write_toml(out.parent / "a.toml", experiment(luna, out))
    from voxray.executors.local import write_shard

    def work(*arguments: object) -> object:
        os.kill(os.getpid(), signal.SIGHUP)
        return write_shard(*arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WORK["ingest"], work)
        assert voxray("ingest", file, "--no-ray") == 0


def test_ctrl_c_in_a_terminal_says_how_to_resume(luna: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_toml(out.parent / "a.toml", experiment(luna, out))
    program = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background, the shell has it ignored
from voxray.cli.app import main
from voxray.executors import local
def write_one_shard(*arguments):
    if list(arguments[0].glob("parts/[!.]*-*.parquet")):
        print("waiting", flush=True)
        time.sleep(60)
    return write_shard(*arguments)
write_shard, local.write_shard = local.write_shard, write_one_shard
sys.argv[0] = "voxray"
main()
"""
    command = [sys.executable, "-c", program, "ingest", file, "--no-ray"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")
    assert process.stdout is not None
    assert any("waiting" in line for line in process.stdout)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.endswith(f"finished work is kept. Resume with: voxray ingest {file} --no-ray\n")
    assert "Traceback" not in error
    assert voxray("status", out) == 0
    assert capsys.readouterr().out.startswith("ingest: interrupted after")
    assert voxray("ingest", file, "--no-ray") == 0
    assert "shards are finished, resuming" in capsys.readouterr().out
