import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from scenes import experiment, write_toml

from voxray.console.signals import Interrupted, catch_termination, deferred, keep_handlers, raise_interrupted
from voxray.executors.local import LocalExecutor
from voxray.stages.ingest import ingest
from voxray.stages.train import train


def quiet(line: str) -> None:
    """Swallow what a stage says."""


def test_a_request_to_end_is_noted_and_obeyed_when_the_block_is_over() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def work() -> None:
        with catch_termination() as asked:
            seen.append(asked())
            os.kill(os.getpid(), signal.SIGTERM)
            seen.append(asked())

    with pytest.raises(Interrupted):
        work()
    assert seen == [False, True]
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_interruption_that_a_library_swallows_is_raised_again() -> None:
    def library() -> None:
        with contextlib.suppress(BaseException):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(30)

    def work() -> None:
        library()
        time.sleep(30)

    earlier = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    started = time.monotonic()
    with pytest.raises(Interrupted) as raised, raise_interrupted() as arrived:
        work()
    assert raised.value.number == signal.SIGTERM
    assert set(arrived) == {signal.SIGTERM}
    assert time.monotonic() - started < 20
    for number, handler in earlier.items():
        signal.signal(number, handler)


def test_deferred_signals_are_handled_at_the_end_of_the_block() -> None:
    done = []

    def work() -> None:
        with catch_termination() as asked, deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append(asked())

    with pytest.raises(Interrupted):
        work()
    assert done == [False]


def test_handlers_that_a_library_sets_from_c_do_not_last() -> None:
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]

    def work() -> None:
        with catch_termination(), keep_handlers():
            libc.signal(signal.SIGTERM, None)  # the default, which ends the process
            time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        work()


@pytest.mark.parametrize(("how", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_training_whose_process_is_ended_resumes_by_the_same_command_to_the_same_model(
    luna: Path, tmp_path: Path, out: Path, how: signal.Signals, code: int
) -> None:
    changes = {"store": {"path": str(tmp_path / "store")}, "training": {"epochs": 20, "batch_size": 4}}
    spec = experiment(luna, out, **changes)
    ingest(spec, LocalExecutor(), quiet)
    # It asks at every step, not every two seconds: this training is too short for that.
    program = "from voxray.cli.app import main; from voxray.training import loop; loop.STOP_CHECK_S = 0; main()"
    command = [sys.executable, "-c", program, "train", "--no-ray"]
    command.append(str(write_toml(tmp_path / "a.toml", spec)))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, encoding="utf-8")
    checkpoint = out / "checkpoints" / "last.safetensors"
    deadline = time.monotonic() + 120
    while not checkpoint.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(how)
    _, error = process.communicate(timeout=60)
    assert process.returncode == code
    assert not (out / "model.safetensors").exists()
    if how == signal.SIGTERM:
        assert "finished work is kept. Resume with" in error
    rest = experiment(luna, out, **changes)
    train(rest, LocalExecutor(), quiet)
    whole = experiment(luna, tmp_path / "whole", **changes)
    train(whole, LocalExecutor(), quiet)
    assert (out / "model.safetensors").read_bytes() == (whole.out_path / "model.safetensors").read_bytes()
