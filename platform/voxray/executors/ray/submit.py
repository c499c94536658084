"""``voxray submit``: a command of Voxray as a job of a Ray cluster, checked before anything is uploaded."""

import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import yaml
from pathspec import GitIgnoreSpec

from voxray.datasets.layouts import load_checked_experiment
from voxray.errors import ConfigError

JOBS = Path("jobs")
RUNTIME_ENV = JOBS / "runtime_env.yaml"
LIMIT_BYTES = 20_000_000
LARGEST_SHOWN = 5
ALWAYS_EXCLUDED = (".git", ".venv", "venv", "__pycache__")  # by Ray itself


def job_command(
    command: str, subject: str, options: Sequence[str], settings: Sequence[str], address: str | None
) -> list[str]:
    """The ``ray job submit`` command; the current folder is uploaded as the working directory.

    Parameters
    ----------
    command : str
        A file of ``jobs/``, such as ``ingest``.
    subject : str
        The experiment's file, or for ``predict`` the run's folder.
    options, settings : sequence of str
        Further arguments of the command, and its ``--set``.
    address : str or None
        Of the cluster's dashboard; by default ``RAY_ADDRESS``.

    Raises
    ------
    ConfigError
        The job cannot work: the upload is too large or lacks a file, or the results would be lost.
    """
    jobs = sorted(path.stem for path in JOBS.glob("*.py"))
    if command not in jobs:
        remedy = f"Known: {', '.join(jobs)}" if jobs else "Submit from the project's folder, which contains jobs/"
        raise ConfigError("submit", f"no {JOBS / command}.py in this folder, got '{command}'", remedy)
    sizes = dict(traveling_files(Path.cwd()))
    check_size(sizes)
    if command == "predict":
        _check_absolute([subject, *options])
    else:
        subject = _check_experiment(Path(subject), settings, sizes)
        _check_absolute([path for option, path in pairwise(options) if option == "--out"])
    return [
        *("ray", "job", "submit"),
        *(("--address", address) if address else ()),
        *("--working-dir", ".", "--runtime-env", str(RUNTIME_ENV)),
        *("--", "python", str(JOBS / f"{command}.py"), subject, *options),
        *(word for setting in settings for word in ("--set", setting)),
    ]


def traveling_files(folder: Path) -> Iterator[tuple[Path, int]]:
    """Relative path and bytes of each file to upload: all that neither ``.gitignore`` nor the excludes name."""
    excludes = yaml.safe_load((folder / RUNTIME_ENV).read_text(encoding="utf-8")).get("excludes", [])
    ignored = folder / ".gitignore"
    lines = ignored.read_text(encoding="utf-8").splitlines() if ignored.exists() else []
    excluded = GitIgnoreSpec.from_lines([*ALWAYS_EXCLUDED, *excludes, *lines])
    for parent, folders, names in os.walk(folder, followlinks=True):
        inside = Path(parent).relative_to(folder)
        folders[:] = [name for name in folders if not excluded.match_file(f"{inside / name}/")]
        for path in (inside / name for name in names):
            if not excluded.match_file(path):
                yield path, (folder / path).stat().st_size


def check_size(sizes: dict[Path, int]) -> None:
    """Raise ConfigError where the upload exceeds 20 MB, with the names of the largest files."""
    total = sum(sizes.values())
    if total <= LIMIT_BYTES:
        return
    largest = sorted(sizes, key=lambda path: -sizes[path])[:LARGEST_SHOWN]
    named = ", ".join(f"{path} ({sizes[path] / 1e6:,.1f} MB)" for path in largest)
    limit = f"{LIMIT_BYTES / 1e6:.0f} MB"
    problem = f"{total / 1e6:,.1f} MB would be uploaded with the job, more than {limit}; largest: {named}"
    raise ConfigError("working directory", problem, f"Move them, or list them under excludes in {RUNTIME_ENV}")


def _check_experiment(path: Path, settings: Sequence[str], sizes: dict[Path, int]) -> str:
    here = Path.cwd()
    experiment = load_checked_experiment(path, settings)
    inside = Path(os.path.relpath(path.resolve(), here))
    if inside not in sizes:
        problem = "is not uploaded with the working directory"
        raise ConfigError(str(path), problem, f"Move it inside, where {RUNTIME_ENV} does not exclude it")
    paths = {"out": experiment.out, "data.root": experiment.data.root, "store.path": experiment.store.path}
    for key, value in paths.items():
        if value and Path(value).is_relative_to(here):
            problem = f"{key}: is in the working directory, but a job has a temporary copy of it, got {value}"
            raise ConfigError(str(path), problem, f"Name a folder that all nodes see: --set {key}=…")
    return inside.as_posix()


def _check_absolute(words: Sequence[str]) -> None:
    for word in words:
        if not word.startswith("-") and "://" not in word and not Path(word).is_absolute():
            problem = f"expected an absolute path or a URL, got '{word}'"
            raise ConfigError("submit", problem, "Name a folder that all nodes see")
