import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from inspection_scenes import write_defects
from scenes import experiment, write_luna, write_toml

from voxray.cli.app import main
from voxray.storage.locks import locked


def voxray(*arguments: object) -> int:
    """Exit code of a command."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_describe_prints_layers_and_totals_also_as_json(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = project / "configs" / "architectures" / "arch3dsm.json"
    assert voxray("describe", path, "--input", "1x64x64x10") == 0
    printed = capsys.readouterr().out
    assert "196,108 trainable parameters" in printed
    assert "FLOP to train" in printed
    assert voxray("describe", path, "--input", "1x64x64x10", "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["parameters"] == 196_108
    assert len(content["layers"]) == 9
    assert content["layers"][4]["output"] == [16, 11, 11, 2]
    assert sum(layer["parameters"] for layer in content["layers"]) == 196_108
    assert content["training_flops"] > 2 * content["forward_flops"]
    assert voxray("describe", path, "--input", "1x64x64x10", "--json", "--batch", 300) == 0
    larger = json.loads(capsys.readouterr().out)["memory_bytes"]
    assert larger["batch"] == 300
    assert larger["cpu"] > 5 * content["memory_bytes"]["cpu"]


@pytest.mark.parametrize("kind", ["", "architecture", "space", "experiment"])
def test_schema_prints_that_of_one_kind_of_file(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert voxray("schema", *kind.split()) == 0
    assert json.loads(capsys.readouterr().out)["title"] == f"Voxray {kind or 'architecture'}"


def test_a_users_mistake_is_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.json").write_text('[{"type": "X"}]')
    assert voxray("describe", tmp_path / "net.json", "--input", "1x8x8") == 2
    error = capsys.readouterr().err
    assert "[0].type: unknown layer type 'X'" in error
    assert "Traceback" not in error
    assert voxray("run", tmp_path / "none.toml") == 2
    assert voxray("run") == 2
    assert voxray("describe", tmp_path / "net.json", "--input", "8") == 2


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    luna: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_toml(out.parent / "a.toml", experiment(luna, out))
    assert voxray("run", file, "--dry-run") == 0
    text = capsys.readouterr().out
    for words in ("train", "nodule", "shards", "trainable parameters", "MiB", "8 scans", "each series counts"):
        assert words in text
    assert not out.exists()


def test_the_plan_of_a_segmentation_names_the_classes_of_its_voxels(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert voxray("phantom", "decathlon", tmp_path, "--cases", 5, "--size", "32x30x24") == 0
    file = project / "configs" / "experiments" / "brats_unet3d.toml"
    small = ["--set", "patches.size=[16, 16, 16]", "--set", f"data.root={tmp_path}"]
    assert voxray("run", file, "--dry-run", *small) == 0
    text = capsys.readouterr().out
    assert "classes   background, edema, non-enhancing tumor, enhancing tumour, of voxels" in text
    # 5 scans, 4 patches each, 4 channels, 4 bytes a voxel
    assert "patches   4x16x16x16 float32, 1.25 MiB before compression" in text
    assert "epoch     16 training rows; 4 validation patches\n" in text


def test_inspect_says_what_is_wrong_and_fails_only_for_errors(
    luna: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_toml(out.parent / "a.toml", experiment(luna, out))
    assert voxray("inspect", file, "--no-ray") == 0
    text = capsys.readouterr().out
    for words in ("Store", "estimated, before compression", "No errors, no warnings"):
        assert words in text
    assert sorted(path.name for path in (out / "inspection").iterdir()) == [
        "inspection.html",
        "inspection.json",
        "scans.parquet",
        "status.json",
    ]
    write_defects(tmp_path / "defects")
    assert voxray("inspect", tmp_path / "defects", "--no-ray", "--out", tmp_path / "found") == 1
    assert "shifted_mask" in " ".join(capsys.readouterr().out.split())
    assert voxray("inspect", tmp_path / "nowhere", "--no-ray") == 2


def test_stages_reuse_what_is_finished_and_say_so(luna: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_toml(out.parent / "a.toml", experiment(luna, out))
    assert voxray("train", file, "--no-ray") == 2
    assert "no patch store is here. Run voxray ingest first" in capsys.readouterr().err
    assert voxray("run", file, "--no-ray") == 0
    assert "report.html" in capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in (out / "store").rglob("*")}
    assert voxray("status", out) == 0
    stages = ("ingest", "train", "evaluate", "report")
    stage_lines = capsys.readouterr().out.splitlines()
    assert [line.split(" after")[0] for line in stage_lines] == [f"{stage}: finished" for stage in stages]
    assert voxray("run", file, "--no-ray") == 0
    text = capsys.readouterr().out
    for words in ("is finished, reused", "train: finished earlier", "evaluate: finished earlier"):
        assert words in text
    assert before == {path: path.stat().st_mtime_ns for path in (out / "store").rglob("*")}
    assert voxray("train", file, "--no-ray", "--set", "training.epochs=1") == 0
    assert "those of the finished training (training.epochs was 2, now 1); replaces" in capsys.readouterr().out
    assert voxray("report", file) == 2
    assert voxray("evaluate", file, "--no-ray") == 2
    assert "no finished training of this experiment" in capsys.readouterr().err
    assert voxray("ingest", file, "--no-ray", "--verify") == 0
    assert "every patch matches its checksum" in capsys.readouterr().out


def test_an_empty_class_in_a_split_is_refused_before_any_work(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_luna(tmp_path / "luna", 2, positives=1)
    file = write_toml(out.parent / "a.toml", experiment(tmp_path / "luna", out))
    assert voxray("run", file, "--no-ray") == 2
    said = capsys.readouterr()
    assert "has no patch of class" in said.err
    assert "note: LUNA16 names no patients" in said.out
    assert not out.exists()


def test_a_full_disk_is_one_line_and_the_same_command_resumes(luna: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "architecture.json").write_text('[{"type": "T", "activation": null}]')
    spec = experiment(luna, tmp_path / "run", store={"path": str(disk / "store")})
    file = write_toml(tmp_path / "a.toml", spec)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"may not mount a small disk here: {mounted.stderr.decode().strip()}")
    command = [sys.executable, "-c", "from voxray.cli.app import main; main()", "ingest", file, "--no-ray"]
    try:
        full = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
        assert full.returncode == 1
        assert "the disk is full" in full.stderr
        assert "Traceback" not in full.stderr
        subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
        again = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
        assert again.returncode == 0, again.stderr
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_run_killed_between_its_results_and_its_record_is_not_taken_for_finished(
    luna: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from voxray.runs.folder import RunFolder, run_folder

    file = write_toml(out.parent / "a.toml", experiment(luna, out))
    assert voxray("run", file, "--no-ray") == 0
    first = json.loads((out / "metrics.json").read_text())
    with monkeypatch.context() as patch:

        def killed(*_: object) -> None:
            raise SystemExit(9)

        patch.setattr(RunFolder, "mark_finished", killed)
        assert voxray("evaluate", file, "--no-ray", "--set", "evaluation.target_recall=0.3") == 9
        assert json.loads((out / "metrics.json").read_text()) != first
        assert voxray("train", file, "--no-ray", "--set", "training.learning_rate=0.1") == 9
    capsys.readouterr()
    assert voxray("report", file) == 2
    assert voxray("run", file, "--no-ray") == 0
    assert "train: finished in" in capsys.readouterr().out
    assert json.loads((out / "metrics.json").read_text()) == first
    assert run_folder(experiment(luna, out)).finished("train") is not None


def test_a_training_that_replaces_another_removes_what_the_other_model_left(
    luna: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_toml(out.parent / "a.toml", experiment(luna, out))
    assert voxray("run", file, "--no-ray") == 0
    stale = [out / "metrics.json", out / "report.html", out / "predictions"]
    assert all(path.exists() for path in stale)
    first = capsys.readouterr().out
    assert "replaces the model" not in first
    assert re.search(r"\ntrain: epoch 2: train loss \d\S+, .*val loss ", first)
    took = r"finished in \d+ s \(\d+ s of training steps in 2 epochs\), weights of epoch \d+ \(lowest val loss\)"
    assert re.search(took + r" → \S+/model\.safetensors", first)
    settings = ["--set", "training.learning_rate=0.002", "--set", "training.monitor='roc_auc'"]
    # A training that fails before its first step removes nothing.
    (out.parent / "empty.json").write_text("[]")
    assert voxray("train", file, "--no-ray", *settings, "--set", f"model.architecture={out.parent / 'empty.json'}") == 2
    assert all(path.exists() for path in stale)
    assert voxray("train", file, "--no-ray", *settings) == 0
    printed = capsys.readouterr().out
    assert f"replaces the model in {out}; its metrics, predictions and report are removed" in printed
    changed = "training.learning_rate was 0.001, now 0.002, training.monitor was loss, now roc_auc, another model.arch"
    assert f"train: the settings differ from those of the finished training ({changed}" in printed
    assert "(highest val ROC AUC) →" in printed
    assert not any(path.exists() for path in stale)
    assert (out / "model.safetensors").exists()


def test_a_stage_with_a_missing_file_is_repeated(luna: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_toml(out.parent / "a.toml", experiment(luna, out))
    assert voxray("run", file, "--no-ray") == 0
    first = json.loads((out / "metrics.json").read_text())
    for name, stage in (("history.parquet", "train"), ("predictions/val.parquet", "evaluate")):
        (out / name).unlink()
        capsys.readouterr()
        assert voxray("run", file, "--no-ray") == 0
        assert f"{stage}: finished earlier" not in capsys.readouterr().out
        assert (out / name).exists()
        assert json.loads((out / "metrics.json").read_text()) == first


def test_two_processes_do_not_write_into_one_folder(luna: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_toml(out.parent / "a.toml", experiment(luna, out))
    with locked(out / "store"):
        assert voxray("ingest", file, "--no-ray") == 1
    assert (
        f"is being written by another process (id {os.getpid()} on {socket.gethostname()})" in capsys.readouterr().err
    )
    assert voxray("ingest", file, "--no-ray") == 0


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (
            "training.class_weights=[1, 2, 3]",
            "training.class_weights: expected one weight for each of 2 classes, got 3",
        ),
        ("training.epochs=true", "training.epochs"),
        ("intensity.window=[[0, 1], [0, 1]]", "intensity.window: expected one window, got 2"),
        (
            "patches.sampling=slices",
            "patches.size: sampling = 'slices' needs patches of one slice, got 6; write [x, y]",
        ),
        ("out=", "--set out: is empty"),
        ("patches=3", "patches: expected a table, got 3"),
        ("augment.rotate90=true", "augment.rotate90: needs a square patch"),
        ("data.layout=lunar16", "data.layout: unknown layout 'lunar16'; did you mean 'luna16'?"),
        ("data.manifest=a.csv", "data.manifest: layout 'luna16' does not use it, got 'a.csv'"),
    ],
)
def test_mistakes_that_once_were_tracebacks_are_one_line(
    luna: Path, out: Path, capsys: pytest.CaptureFixture[str], setting: str, words: str
) -> None:
    spec = experiment(luna, out, patches={"size": [16, 12, 6], "oversample_rotations": [180]})
    file = write_toml(out.parent / "a.toml", spec)
    assert voxray("run", file, "--no-ray", "--set", setting) == 2
    assert words in capsys.readouterr().err


def test_a_dry_run_of_a_search_shows_what_samples_cost_and_trains_nothing(
    luna: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], project: Path
) -> None:
    path = write_toml(out.parent / "a.toml", experiment(luna, out))
    space = project / "configs" / "spaces" / "cnn3d.json"
    words = ("--space", space, "--out", tmp_path / "search", "--max-memory", "20MiB", "--dry-run")
    assert voxray("tune", path, *words) == 0
    text = capsys.readouterr().out
    assert "1,000 samples" in text
    assert "more memory than 20 MiB" in text
    assert "FLOP/s" in text
    assert [each.name for each in (tmp_path / "search").iterdir()] == ["dry_run.png"]
    assert voxray("tune", path, *words, "--max-flops", "much") == 2
    assert "--max-flops: expected a number such as 20M, got 'much'" in capsys.readouterr().err


def test_a_home_that_cannot_be_written_is_nothing_that_matplotlib_tells(project: Path) -> None:
    code = "from voxray.cli.app import main\ntry: main(['--version'])\nexcept SystemExit: import matplotlib.figure"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "MPL"))}
    told = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "HOME": os.devnull},
        cwd=project,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert told.stderr == ""
