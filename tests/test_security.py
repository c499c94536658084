import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from offline_wandb import all_records
from scenes import experiment, write_toml

from voxray.config.load import load_experiment
from voxray.errors import ConfigError

# Reading with these runs whatever code the file brings along.
UNSAFE_MODULES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {"torch.load", "np.load", "numpy.load", "yaml.load", "yaml.unsafe_load", "eval", "exec", "os.system"}
SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIANOTAREALKEY00000",
    "AWS_SECRET_ACCESS_KEY": "not/a/real/secret+of+anyone/0123456789abc",
    "AWS_SESSION_TOKEN": "not+a+real+session+token/0123456789",
    "WANDB_API_KEY": "70c1e27a90b843d19e2c5f6a8d7b30a1c4e5f607",
    "RAY_AUTH_TOKEN": "5b0d3c1f9e2a47d6b8c0f1a2d3e4f506",
}


def dangers(source: str) -> Iterator[str]:
    """The unsafe modules, calls and arguments that a source mentions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from {alias.name.split(".")[0] for alias in node.names} & UNSAFE_MODULES
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from {node.module.split(".")[0]} & UNSAFE_MODULES
            yield from {f"{node.module}.{alias.name}" for alias in node.names} & UNSAFE_CALLS
        elif isinstance(node, ast.Attribute | ast.Name):
            yield from {ast.unparse(node)} & UNSAFE_CALLS
        elif isinstance(node, ast.keyword) and not (isinstance(node.value, ast.Constant) and not node.value.value):
            yield from {str(node.arg)} & {"allow_pickle", "shell"}


def test_nothing_that_is_read_can_bring_code_along(project: Path) -> None:
    files = [*(project / "platform").rglob("*.py"), *(project / "jobs").glob("*.py")]
    assert len(files) > 100
    assert {str(file): found for file in files if (found := list(dangers(file.read_text())))} == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import torch\ntorch.load('a')", ["torch.load"]),
        ("from torch import load", ["torch.load"]),
        ("import pickle as p", ["pickle"]),
        ("from joblib.memory import Memory", ["joblib"]),
        ("f(allow_pickle=True)", ["allow_pickle"]),
        ("f(allow_pickle=False, shell=False)", []),
        ("model.eval()", []),
        ("eval('1')", ["eval"]),
    ],
)
def test_the_search_for_dangers_finds_them(source: str, found: list[str]) -> None:
    assert list(dangers(source)) == found


def test_no_key_of_the_environment_is_kept_printed_or_sent(luna: Path, out: Path) -> None:
    spec = experiment(luna, out, tracking={"mode": "offline"}, training={"epochs": 1})
    command = [sys.executable, "-c", "from voxray.cli.app import main; main()", "run"]
    command += [str(write_toml(out.parent / "small.toml", spec)), "--no-ray"]
    environment = {**os.environ, **SECRETS}
    done = subprocess.run(command, env=environment, cwd=out.parent, capture_output=True, check=True)
    logs = list(out.rglob("*.wandb"))
    assert logs
    for log in logs:
        all_records(log)  # waits until it is whole
    contents = {path: path.read_bytes() for path in out.parent.rglob("*") if path.is_file()}
    contents |= {Path("stdout"): done.stdout, Path("stderr"): done.stderr}
    assert len(contents) > 10
    assert [(path, name) for path, text in contents.items() for name in SECRETS if SECRETS[name].encode() in text] == []


@pytest.mark.parametrize("name", [*SECRETS, "db_password", "PGPASSWORD", "SECRET", "SSH_PASSPHRASE"])
def test_a_path_takes_no_secret_from_the_environment(
    luna: Path, out: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "hidden-in-the-environment")
    file = write_toml(out.parent / "small.toml", experiment(luna, out))
    with pytest.raises(ConfigError, match=f"out: the environment variable {name} has the name of a secret") as error:
        load_experiment(file, [f"out=${{{name}}}"])
    assert "hidden" not in str(error.value)


@pytest.mark.parametrize("name", ["DATA", "PRIVACY_KEY_FILE", "MONKEYS", "TOKENS_DIR", "RAY_AUTH_TOKEN_PATH"])
def test_a_path_takes_places_from_the_environment(
    luna: Path, out: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "/somewhere")
    file = write_toml(out.parent / "small.toml", experiment(luna, out))
    assert load_experiment(file, [f"out=${{{name}}}/run"]).out == "/somewhere/run"


@pytest.mark.parametrize("place", ["s3://me:hush@bucket/run", "https://hush@host/run"])
def test_a_place_with_a_password_is_refused_and_not_repeated(luna: Path, out: Path, place: str) -> None:
    file = write_toml(out.parent / "small.toml", experiment(luna, out))
    with pytest.raises(ConfigError, match="out: has a user or a password before the '@'") as error:
        load_experiment(file, [f"out={place}"])
    assert "hush" not in str(error.value)
