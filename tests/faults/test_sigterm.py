"""SIGTERM at random moments, as a cluster sends it: a line that says how to resume, and the same results afterwards."""

import random
import time

import pytest
from faults.matrix import SIGTERM_CODE, Lab
from faults.results import compare, results
from faults.scenes import STAGES

pytestmark = pytest.mark.faults

MOMENTS = 12


@pytest.mark.parametrize("name", STAGES)
def test_a_command_that_is_told_to_end_says_how_to_resume_and_does(lab: Lab, name: str) -> None:
    began = time.perf_counter()
    lab.drivers.run(lab.copy(lab.before(name), f"timed_{name}"), STAGES[name].command)
    seconds = time.perf_counter() - began
    moments = random.Random(0)
    for number in range(MOMENTS):
        folder = lab.copy(lab.before(name), f"term_{name}_{number}")
        ended = lab.drivers.run(folder, STAGES[name].command, term_s=moments.uniform(0.01, seconds))
        assert ended.code in (0, SIGTERM_CODE), ended.err
        assert ended.code == 0 or "Resume with" in ended.line
        assert lab.drivers.run(folder, STAGES[name].command).code == 0
        assert compare(lab.expected(name), results(folder)) == ""
