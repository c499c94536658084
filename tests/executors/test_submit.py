import runpy
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from ray._private.ray_constants import get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import create_package
from scenes import SMALL_NET, experiment, write_toml

from voxray.cli.app import main
from voxray.errors import ConfigError
from voxray.executors.ray.submit import check_size, job_command, traveling_files

MB = 1_000_000


@pytest.fixture
def checkout(project: Path, luna: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder, and the working directory: jobs, an experiment and things that should stay at home."""
    folder = tmp_path / "project"
    shutil.copytree(project / "jobs", folder / "jobs", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "architecture.json").write_text(SMALL_NET)
    write_toml(folder / "small.toml", experiment(luna, folder / "runs" / "small"))
    for name in ("data/scan.raw", "runs/old/model.safetensors", ".git/objects/a", ".env", "key.pem", "a/x.zarr/c"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * 100)
    (folder / ".gitignore").write_text("big/\n")
    (folder / "big").mkdir()
    (folder / "big" / "y").write_bytes(b"")
    (folder / "platform" / "voxray" / "data").mkdir(parents=True)
    (folder / "platform" / "voxray" / "data" / "kept.py").write_text("")
    monkeypatch.chdir(folder)
    return folder


def test_the_command_is_ray_job_submit_with_the_same_options(
    checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["submit", "ingest", "small.toml", "--verify", "--set", f"out={tmp_path / 'out'}"]
    with pytest.raises(SystemExit) as end:
        main([*words, "--set", "seed=3", "--address", "http://127.0.0.1:1", "--dry-run"])
    assert not end.value.code
    assert capsys.readouterr().out == (
        "ray job submit --address http://127.0.0.1:1 --working-dir . --runtime-env jobs/runtime_env.yaml "
        f"-- python jobs/ingest.py small.toml --verify --set out={tmp_path / 'out'} --set seed=3\n"
    )


def test_scans_and_results_may_have_urls(checkout: Path) -> None:
    settings = ["data.root=s3://scans/luna16", "out=s3://results/run"]
    words = job_command("run", "small.toml", [], settings, None)
    assert words[-4:] == ["--set", settings[0], "--set", settings[1]]
    words = job_command("predict", "s3://results/run", ["s3://scans/a.mhd", "--out", "s3://results/maps"], [], None)
    assert "s3://results/run" in words
    with pytest.raises(ConfigError, match="Use one of file://, s3://"):
        job_command("run", "small.toml", [], ["out=hdfs://results/run"], None)


def test_every_job_is_the_command_of_its_name(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = sorted((project / "jobs").glob("*.py"))
    assert {"ingest", "train", "tune", "evaluate", "predict", "run"} == {job.stem for job in jobs}
    for job in jobs:
        monkeypatch.setattr(sys, "argv", [str(job), "--help"])
        with pytest.raises(SystemExit):
            runpy.run_path(str(job))
        assert f" {job.stem} [OPTIONS]" in capsys.readouterr().out


def test_data_runs_and_keys_stay_at_home(checkout: Path) -> None:
    traveling = {path.as_posix() for path, _ in traveling_files(checkout)}
    job_files = {path.relative_to(checkout).as_posix() for path in (checkout / "jobs").iterdir()}
    assert traveling == job_files | {"architecture.json", "small.toml", ".gitignore", "platform/voxray/data/kept.py"}


def test_what_is_counted_is_what_ray_packs(checkout: Path, tmp_path: Path) -> None:
    excludes = yaml.safe_load((checkout / "jobs" / "runtime_env.yaml").read_text())["excludes"]
    excludes += get_runtime_env_default_excludes()
    create_package(str(checkout), tmp_path / "package.zip", include_gitignore=True, excludes=excludes)
    with zipfile.ZipFile(tmp_path / "package.zip") as package:
        packed = {Path(entry.filename): entry.file_size for entry in package.infolist() if not entry.is_dir()}
    assert packed == dict(traveling_files(checkout))


def test_a_large_working_directory_is_refused_with_its_largest_files(checkout: Path) -> None:
    with (checkout / "scan.nii").open("wb") as file:
        file.truncate(21 * MB)
    with pytest.raises(ConfigError, match=r"21\.0 MB would be uploaded.*largest: scan\.nii \(21\.0 MB\), .*excludes"):
        job_command("ingest", "small.toml", [], ["out=/elsewhere"], None)


def test_exactly_the_limit_may_travel() -> None:
    check_size({Path("a"): 19 * MB, Path("b"): MB})
    with pytest.raises(ConfigError, match=r"largest: a \(19\.0 MB\), b \(1\.0 MB\)"):
        check_size({Path("b"): MB + 1, Path("a"): 19 * MB})


@pytest.mark.parametrize(
    ("command", "subject", "options", "settings", "words"),
    [
        ("ingest", "small.toml", [], [], "out: is in the working directory, but a job has a temporary copy"),
        ("ingest", "small.toml", [], ["out=/o", "data.root=data"], "data.root: is in the working directory"),
        ("ingest", "small.toml", [], ["out=/o", "store.path=s"], "store.path: is in the working directory"),
        ("ingest", "none.toml", [], [], "no such experiment file"),
        ("ingest", "small.toml", [], ["seed=-1"], "seed"),
        (
            "inhale",
            "small.toml",
            [],
            [],
            "in this folder, got 'inhale'. Known: evaluate, ingest, predict",
        ),
        ("tune", "small.toml", ["--space", "s.json", "--out", "found"], ["out=/o"], "got 'found'"),
        ("predict", "runs/old", ["/scan.nii", "--out", "/maps"], [], "got 'runs/old'"),
        ("predict", "/runs/old", ["/scan.nii", "--out", "maps"], [], "got 'maps'"),
    ],
)
def test_a_job_that_could_not_work_is_not_submitted(
    checkout: Path, command: str, subject: str, options: list[str], settings: list[str], words: str
) -> None:
    with pytest.raises(ConfigError) as error:
        job_command(command, subject, options, settings, None)
    assert words in str(error.value)


def test_an_experiment_that_stays_at_home_is_refused(checkout: Path, tmp_path: Path) -> None:
    for place in (checkout / "runs", tmp_path):
        shutil.copy(checkout / "small.toml", place / "other.toml")
        with pytest.raises(ConfigError, match="is not uploaded with the working directory"):
            job_command("ingest", str(place / "other.toml"), [], ["out=/elsewhere"], None)


def test_outside_the_project_the_user_reads_where_to_submit_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="Submit from the project's folder, which contains jobs/"):
        job_command("ingest", "small.toml", [], [], None)
