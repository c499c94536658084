"""Every malformed input is refused with an error of Voxray, or is read as what it says; quickly, in bounded memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
MODULES = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("test_"))
SEEDS = int(os.environ.get("VOXRAY_FUZZ_SEEDS", "1"))
CASES_EACH = 40  # of a module, so that all of them have more than 500


def run_cases(module: str) -> tuple[int, dict[str, str]]:
    """The number of a module's cases, and how those that failed did; a process that dies is followed by another."""
    number, failures = -1, {}
    while True:
        command = [sys.executable, str(TESTS / "fuzzing.py"), module, str(number + 1), str(SEEDS)]
        environment = {**os.environ, "PYTHONPATH": f"{TESTS}:{os.environ.get('PYTHONPATH', '')}"}
        process = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace")
        name, lines = "the module itself", [json.loads(line) for line in process.stdout.splitlines() if line[0] == "{"]
        started = number
        for line in lines:
            number, name = line.get("number", number), line.get("case", name)
            if "failure" in line:
                failures[name] = line["failure"]
        if lines and "finished" in lines[-1]:
            return number + 1, failures
        failures[name] = f"ended the process (exit {process.returncode}): {process.stderr[-3000:]}"
        if number == started:
            return number + 1, failures


@pytest.mark.parametrize("module", MODULES)
def test_malformed_input_is_refused_or_read_as_what_it_says(module: str) -> None:
    cases, failures = run_cases(module)
    assert not failures, f"{len(failures)} of {cases}:\n" + "\n\n".join(
        f"{name}: {how}" for name, how in failures.items()
    )
    assert cases >= SEEDS * CASES_EACH
