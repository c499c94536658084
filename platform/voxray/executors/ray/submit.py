"""``voxray submit``: a command of Voxray as a job of a Ray cluster, checked before anything travels."""

import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import yaml
from pathspec import GitIgnoreSpec

from voxray.config.load import load_experiment
from voxray.datasets.layouts import check_layout
from voxray.errors import ConfigError

JOBS = Path("jobs")
RUNTIME_ENV = JOBS / "runtime_env.yaml"
LIMIT_BYTES = 20_000_000
NAMED = 5
ALWAYS_LEFT_OUT = (".git", ".venv", "venv", "__pycache__")  # by Ray itself


def job_command(
    command: str, subject: str, options: Sequence[str], settings: Sequence[str], address: str | None
) -> list[str]:
    """The ``ray job submit`` command; the current folder is the working directory that travels.

    Parameters
    ----------
    command : str
        A file of ``jobs/``, such as ``ingest``.
    subject : str
        The experiment's file, or for ``predict`` the run's folder.
    options, settings : sequence of str
        What else the command takes, and its ``--set``.
    address : str or None
        Of the cluster's dashboard; None leaves it to ``RAY_ADDRESS``.

    Raises
    ------
    ConfigError
        The job could not work: too much would travel, or something it needs would not, or its results would be lost.
    """
    known = sorted(path.stem for path in JOBS.glob("*.py"))
    if command not in known:
        remedy = f"Known: {', '.join(known)}" if known else "Submit from the project's folder, which holds jobs/"
        raise ConfigError("submit", f"there is no {JOBS / command}.py here", remedy)
    sizes = dict(traveling_files(Path.cwd()))
    check_size(sizes)
    if command == "predict":
        _check_absolute([subject, *options])
    else:
        subject = _check_experiment(Path(subject), settings, sizes)
        _check_absolute([place for option, place in pairwise(options) if option == "--out"])
    return [
        *("ray", "job", "submit"),
        *(("--address", address) if address else ()),
        *("--working-dir", ".", "--runtime-env", str(RUNTIME_ENV)),
        *("--", "python", str(JOBS / f"{command}.py"), subject, *options),
        *(word for setting in settings for word in ("--set", setting)),
    ]


def traveling_files(folder: Path) -> Iterator[tuple[Path, int]]:
    """Relative path and bytes of each file that travels: all but those that ``.gitignore`` or the excludes name."""
    excludes = yaml.safe_load((folder / RUNTIME_ENV).read_text(encoding="utf-8")).get("excludes", [])
    ignored = folder / ".gitignore"
    lines = ignored.read_text(encoding="utf-8").splitlines() if ignored.exists() else []
    left_out = GitIgnoreSpec.from_lines([*ALWAYS_LEFT_OUT, *excludes, *lines])
    for place, folders, names in os.walk(folder, followlinks=True):
        inside = Path(place).relative_to(folder)
        folders[:] = [name for name in folders if not left_out.match_file(f"{inside / name}/")]
        for path in (inside / name for name in names):
            if not left_out.match_file(path):
                yield path, (folder / path).stat().st_size


def check_size(sizes: dict[Path, int]) -> None:
    """Raise ConfigError where more than 20 MB would travel, with the names of the largest files."""
    total = sum(sizes.values())
    if total <= LIMIT_BYTES:
        return
    largest = sorted(sizes, key=lambda path: -sizes[path])[:NAMED]
    named = ", ".join(f"{path} ({sizes[path] / 1e6:,.1f} MB)" for path in largest)
    problem = f"{total / 1e6:,.1f} MB would travel with the job, more than {LIMIT_BYTES / 1e6:.0f} MB; largest: {named}"
    raise ConfigError("working directory", problem, f"Move them, or name them under excludes in {RUNTIME_ENV}")


def _check_experiment(path: Path, settings: Sequence[str], sizes: dict[Path, int]) -> str:
    here = Path.cwd()
    experiment = load_experiment(path, settings)
    check_layout(experiment.data)
    inside = Path(os.path.relpath(path.resolve(), here))
    if inside not in sizes:
        problem = "does not travel with the working directory"
        raise ConfigError(str(path), problem, f"Put it inside, where {RUNTIME_ENV} does not exclude it")
    places = {"out": experiment.out, "data.root": experiment.data.root, "store.path": experiment.store.path}
    for key, place in places.items():
        if place and Path(place).is_relative_to(here):
            problem = f"{key}: lies in the working directory, which is a copy for the job's time, got {place}"
            raise ConfigError(str(path), problem, f"Name a place that all nodes see: --set {key}=…")
    return inside.as_posix()


def _check_absolute(words: Sequence[str]) -> None:
    for word in words:
        if not word.startswith("-") and "://" not in word and not Path(word).is_absolute():
            raise ConfigError("submit", f"'{word}' is relative", "Name a place that all nodes see")
