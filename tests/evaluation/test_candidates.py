import json
from pathlib import Path

import numpy as np
import pytest
from scenes import SMALL_NET, experiment, write_luna

from voxray.config.experiment import Experiment
from voxray.errors import ConfigError
from voxray.executors.local import LocalExecutor
from voxray.metrics.detection import RATES, rate_name
from voxray.runs.folder import run_folder
from voxray.runs.read import read_history, read_metrics, read_predictions
from voxray.search.plan import parse_metric
from voxray.search.space.load import load_space
from voxray.search.trials import Goal
from voxray.stages.evaluate import evaluate
from voxray.stages.ingest import ingest
from voxray.stages.report import report
from voxray.stages.score import ScoreInputs, score
from voxray.stages.train import current_train_key, train
from voxray.store.read import open_store
from voxray.training.tasks import check_settings

STAGES = (ingest, train, evaluate)

SPACE = load_space(Path(__file__).parents[2] / "configs" / "spaces" / "cnn3d.json")


def write_annotations(root: Path, diameter: float = 9.0) -> None:
    """Each positive candidate is a nodule; the first negative of each scan is an excluded finding."""
    nodules = ["seriesuid,coordX,coordY,coordZ,diameter_mm"]
    excluded = list(nodules)
    seen: set[str] = set()
    for line in (root / "candidates.csv").read_text().splitlines()[1:]:
        name, *point, label = line.split(",")
        if label == "1":
            nodules.append(",".join([name, *point, str(diameter)]))
        elif name not in seen:
            seen.add(name)
            excluded.append(",".join([name, *point, "-1"]))
    (root / "annotations.csv").write_text("\n".join(nodules) + "\n")
    (root / "annotations_excluded.csv").write_text("\n".join(excluded) + "\n")


def trained(folder: Path, **changes: object) -> Experiment:
    write_luna(folder / "scans", 8, bright=900)
    write_annotations(folder / "scans")
    (folder / "architecture.json").write_text(SMALL_NET)
    spec = experiment(folder / "scans", folder / "run", **changes)
    for stage in STAGES:
        stage(spec, LocalExecutor(), lambda line: None)
    return spec


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    return trained(tmp_path_factory.mktemp("froc"), training={"monitor": "cpm"})


@pytest.mark.parametrize("split", ["val", "test"])
def test_the_candidates_of_a_split_are_scored_as_the_command_scores_them(
    run: Experiment, tmp_path: Path, split: str
) -> None:
    rows = read_predictions(run_folder(run), split).to_pylist()
    lines = ["seriesuid,coordX,coordY,coordZ,probability"]
    lines += [f"{r['scan_id']},{-r['x_mm']},{-r['y_mm']},{r['z_mm']},{r['probabilities'][1]!r}" for r in rows]
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "series.csv").write_text("\n".join({r["scan_id"] for r in rows}) + "\n")
    root = Path(run.data.root)
    lists = (root / "annotations.csv", root / "annotations_excluded.csv", tmp_path / "series.csv")
    expected, _ = score(ScoreInputs([tmp_path / "list.csv"], *lists))
    metrics = read_metrics(run_folder(run))[split]
    assert metrics["cpm"] == pytest.approx(expected.cpm, abs=1e-12)
    for rate in map(rate_name, RATES):
        assert metrics[f"sensitivity_at/{rate}"] == pytest.approx(expected.sensitivity_at[rate], abs=1e-12)
    assert metrics["nodules"] == expected.nodules > 0
    assert metrics["dropped_as_excluded"] == expected.dropped_as_excluded > 0
    assert metrics["intervals"]["cpm"] is None  # two scans


def test_an_epoch_is_chosen_by_the_cpm_that_evaluation_gives_it(run: Experiment) -> None:
    history = read_history(run_folder(run)).to_pylist()
    assert len({row["val_cpm"] for row in history}) > 1
    assert max(row["val_cpm"] for row in history) == pytest.approx(read_metrics(run_folder(run))["val"]["cpm"])
    assert parse_metric("val/cpm", run, SPACE, "classification", ("other", "nodule")) == Goal("cpm", "cpm")


def test_other_annotations_choose_another_epoch_so_that_the_training_is_another(run: Experiment) -> None:
    store, annotations = open_store(run.store_path), Path(run.data.root) / "annotations.csv"
    text, keys = annotations.read_text(), [current_train_key(run, store)]
    by_loss = run.model_copy(update={"training": run.training.model_copy(update={"monitor": "loss"})})
    others = [current_train_key(by_loss, store)]
    annotations.write_text("\n".join(text.splitlines()[:-1]) + "\n")
    keys.append(current_train_key(run, store))
    others.append(current_train_key(by_loss, store))
    annotations.write_text(text)
    assert keys[0] != keys[1]
    assert others[0] == others[1]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"data": {"root": "elsewhere"}}, "data.root holds no annotations.csv"),
        ({"patches": {"negatives_per_positive": {"val": 3}}}, "negatives_per_positive.val is 3"),
        ({"data": {"layout": "medmnist"}}, "only candidates of the layout luna16 have it"),
    ],
)
def test_a_run_whose_candidates_have_no_curve_cannot_be_chosen_by_cpm(
    run: Experiment, change: dict[str, dict[str, object]], reason: str
) -> None:
    content = run.model_dump(mode="json")
    for table, settings in change.items():
        content[table] |= settings
    other = Experiment.model_validate(content)
    of_learning = "classification", ("other", "nodule")
    with pytest.raises(ConfigError, match=reason):
        check_settings(other, *of_learning)
    with pytest.raises(ConfigError, match=reason):
        parse_metric("val/cpm", other, SPACE, *of_learning)
    with pytest.raises(ConfigError, match=r"unknown metric 'val/dice'.*val/roc_auc"):
        parse_metric("val/dice", other, SPACE, *of_learning)


def test_the_report_shows_the_curve_and_its_rates(run: Experiment) -> None:
    report(run, lambda line: None)
    page = run_folder(run).report.read_text()
    assert 'id="froc"' in page or "FROC curve" in page
    assert "CPM" in page
    assert "Sensitivity at 0.125 false positives a scan" in page


def test_without_annotations_or_with_dropped_negatives_there_is_no_curve_and_changed_ones_count_again(
    run: Experiment, tmp_path: Path
) -> None:
    thin = trained(tmp_path / "thin", patches={"negatives_per_positive": {"train": 2, "val": 2, "test": "all"}})
    metrics = read_metrics(run_folder(thin))
    assert "cpm" not in metrics["val"]
    assert "cpm" in metrics["test"]
    for name in ("annotations.csv", "annotations_excluded.csv"):
        (Path(thin.data.root) / name).unlink()
    report(thin, lambda line: None)
    said: list[str] = []
    evaluate(thin, LocalExecutor(), said.append)
    assert said[0] == "evaluate: finished earlier, reused"
    write_annotations(Path(thin.data.root), diameter=0.0)
    evaluate(thin, LocalExecutor(), said.append)
    assert read_metrics(run_folder(thin))["test"]["cpm"] == 0 < metrics["test"]["cpm"]
    (Path(thin.data.root) / "annotations.csv").unlink()
    again = thin.model_copy(update={"evaluation": thin.evaluation.model_copy(update={"target_recall": 0.8})})
    evaluate(again, LocalExecutor(), lambda line: None)
    assert "cpm" not in read_metrics(run_folder(thin))["test"]


def test_pseudonyms_do_not_change_the_score(run: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROC_KEY", "k" * 40)
    hidden = run.model_copy(
        update={"out": str(tmp_path / "run"), "privacy": run.privacy.model_copy(update={"key_env": "FROC_KEY"})}
    )
    for stage in STAGES:
        stage(hidden, LocalExecutor(), lambda line: None)
    metrics = json.loads(run_folder(hidden).metrics.read_text())
    assert np.isfinite(metrics["test"]["cpm"])
    assert metrics["test"]["nodules"] > 0
