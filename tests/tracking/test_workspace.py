import json
from pathlib import Path
from typing import Any

import pytest
import wandb_workspaces.workspaces.interface as interface
from scenes import experiment, write_toml

from voxray.cli.app import main
from voxray.tracking.workspace import build_workspace, describe_workspace


def test_offline_it_prints_the_workspace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toml = write_toml(tmp_path / "small.toml", experiment(tmp_path / "luna", tmp_path / "run"))
    with pytest.raises(SystemExit) as ended:
        main(["dashboard", str(toml), "--set", "tracking.mode=offline", "--set", "tracking.project=lungs"])
    assert ended.value.code == 0
    output = capsys.readouterr().out
    assert "project 'lungs' would get the workspace 'Voxray'" in output
    for line in describe_workspace(build_workspace("someone", "lungs")):
        assert line in output


def test_it_has_a_section_for_each_task_and_for_searches() -> None:
    workspace = build_workspace("someone", "lungs")
    assert [section.name for section in workspace.sections] == [
        "Classification",
        "Segmentation",
        "Detection",
        "Training",
        "Pareto",
        "Trials",
    ]
    assert all(section.panels for section in workspace.sections)


def test_the_monitor_of_the_experiment_is_a_goal_and_training_stands_beside_validation() -> None:
    lines = describe_workspace(build_workspace("someone", "lungs", "balanced_accuracy"))
    assert "Pareto: val/balanced_accuracy against parameters" in lines
    assert lines == sorted(set(lines), key=lines.index)
    assert "Training: train/accuracy, val/accuracy over the epochs" in lines
    by_loss = describe_workspace(build_workspace("someone", "lungs", "loss"))
    assert not [line for line in by_loss if "val/loss against" in line]


def test_the_sent_workspace_names_the_metrics_that_runs_log(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []

    def upsert(view: Any) -> dict[str, Any]:
        sent.append(view)
        return {"upsertView": {"view": {"name": "nw-1-v", "id": "1"}}}

    monkeypatch.setattr(interface.internal, "upsert_view2", upsert)
    monkeypatch.setattr(interface, "get_app_url", lambda api: "https://wandb.ai")
    monkeypatch.setattr(interface.wandb, "Api", lambda: None)
    workspace = build_workspace("someone", "lungs").save()
    assert workspace.url == "https://wandb.ai/someone/lungs?nw=1"
    (view,) = sent
    assert (view.entity, view.project, view.display_name) == ("someone", "lungs", "Voxray")
    text = json.dumps(view.model_dump(mode="json", by_alias=True))
    for name in (
        "val/recall",
        "val/dice",
        "val/cpm",
        "final/val/whole_scans/cpm",
        "final/test/whole_scans/cpm",
        "val/recall_at_precision",
        "parameters.value",
        "training.value.learning_rate",
    ):
        assert name in text, name
