"""Settings and commands that reproduce a run."""

import tomllib
from collections.abc import Callable

import pytest

from voxray.config.experiment import Experiment
from voxray.reporting.run.contents import RunContents
from voxray.reporting.run.reproduce import command_lines, hide_paths, settings_text


def test_the_settings_are_toml_that_gives_the_experiment_back(make_run: Callable[..., RunContents]) -> None:
    experiment = make_run().experiment
    content = tomllib.loads(settings_text(experiment))
    assert (content["out"], content["data"]["root"], content["model"]["architecture"]) == (
        "…/run",
        "…/scans",
        "…/tiny.json",
    )
    content["out"], content["data"]["root"] = experiment.out, experiment.data.root
    content["model"]["architecture"] = experiment.model.architecture
    assert Experiment.model_validate(content) == experiment


@pytest.mark.parametrize(
    ("text", "displayed"),
    [
        ("/secret/data/sub/x.mhd: cut off", "sub/x.mhd: cut off"),
        ("cannot open '/home/anna/y.raw'", "cannot open '…/y.raw'"),
        ("kernel 3x3 / 1x1, sub/x.mhd and 2/3", "kernel 3x3 / 1x1, sub/x.mhd and 2/3"),
        (r"C:\Users\anna\x.mhd is bad", "…/x.mhd is bad"),
    ],
)
def test_only_the_end_of_a_path_is_displayed(make_run: Callable[..., RunContents], text: str, displayed: str) -> None:
    run = make_run()
    data = run.experiment.data.model_copy(update={"root": "/secret/data"})
    assert hide_paths(text, run.experiment.model_copy(update={"data": data})) == displayed


def test_the_commands_name_the_experiment() -> None:
    assert all("lungs.toml" in command for command, _ in command_lines("lungs"))
