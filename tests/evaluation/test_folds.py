import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scenes import SMALL_NET, experiment
from sklearn.metrics import roc_auc_score

from voxray.api.trained_run import load_run
from voxray.config.experiment import Experiment
from voxray.errors import VoxrayError
from voxray.executors.local import LocalExecutor
from voxray.reporting.run.fold_page import write_fold_report
from voxray.stages.ingest import ingest
from voxray.stages.pipeline import run


@pytest.fixture(scope="module")
def crossed(luna: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Experiment, list[str]]:
    folder = tmp_path_factory.mktemp("folds")
    (folder / "architecture.json").write_text(SMALL_NET)
    spec = experiment(luna, folder / "run", split={"folds": 2, "val": 0.3}, training={"epochs": 1})
    said: list[str] = []
    run(spec, LocalExecutor(), said.append)
    return spec, said


def test_every_patient_is_tested_once_and_never_trained_on_in_that_fold(
    crossed: tuple[Experiment, list[str]],
) -> None:
    spec, _ = crossed
    table = pq.read_table(spec.out_path / "predictions" / "test.parquet")
    tested = set(zip(table["patient_id"].to_pylist(), table["fold"].to_pylist(), strict=True))
    assert len({patient for patient, _ in tested}) == len(tested) == 8
    for fold in range(2):
        index = pq.read_table(spec.out_path / f"fold_{fold}" / "store" / "index.parquet").to_pylist()
        mine = {patient for patient, number in tested if number == fold}
        splits = {split: {row["patient_id"] for row in index if row["split"] == split} for split in ("train", "val")}
        assert mine == {row["patient_id"] for row in index if row["split"] == "test"}
        assert not mine & (splits["train"] | splits["val"])
        assert splits["train"]
        assert splits["val"]


def test_the_figures_of_all_folds_are_those_of_their_predictions_together(
    crossed: tuple[Experiment, list[str]],
) -> None:
    spec, _ = crossed
    table = pq.read_table(spec.out_path / "predictions" / "test.parquet")
    metrics = json.loads((spec.out_path / "metrics.json").read_text())["test"]
    labels, scores = table["label"].to_numpy(), [pair[1] for pair in table["probabilities"].to_pylist()]
    assert metrics["roc_auc"] == pytest.approx(roc_auc_score(labels, scores))
    own = [json.loads((spec.out_path / f"fold_{fold}" / "metrics.json").read_text())["test"] for fold in range(2)]
    assert metrics["folds"]["roc_auc"] == [each["roc_auc"] for each in own]
    assert set(metrics["classes"]) == set(own[0]["classes"])
    assert metrics["classes"]["nodule"]["support"] == sum(each["classes"]["nodule"]["support"] for each in own)
    # Each patch is called at the operating point of its own fold.
    counts = np.sum([each["confusion_matrix"] for each in own], axis=0)
    np.testing.assert_array_equal(metrics["confusion_matrix"], counts)


def test_the_page_links_to_each_fold_and_a_second_run_repeats_nothing(
    crossed: tuple[Experiment, list[str]],
) -> None:
    spec, _ = crossed
    page = (spec.out_path / "report.html").read_text()
    for fold in range(2):
        assert f'href="fold_{fold}/report.html"' in page
        assert (spec.out_path / f"fold_{fold}" / "report.html").exists()
    assert str(spec.out_path) not in page
    said: list[str] = []
    run(spec, LocalExecutor(), said.append)
    assert sum("train: finished earlier" in line for line in said) == 2


def test_the_page_of_all_folds_has_the_monitor_as_its_headline_and_the_table_of_classes(
    crossed: tuple[Experiment, list[str]], tmp_path: Path
) -> None:
    spec, _ = crossed
    metrics = json.loads((spec.out_path / "metrics.json").read_text())
    training = spec.training.model_copy(update={"monitor": "balanced_accuracy"})
    for chosen, label in ((spec, "ROC AUC"), (spec.model_copy(update={"training": training}), "Balanced accuracy")):
        write_fold_report(tmp_path / "report.html", chosen, metrics)
        page = (tmp_path / "report.html").read_text()
        assert f'<p class="sentence">{label} ' in page
        assert '<table id="classes-test">' in page


def test_one_stage_wants_one_fold(crossed: tuple[Experiment, list[str]]) -> None:
    with pytest.raises(VoxrayError, match=r"split\.folds: .*--set split\.fold=0"):
        ingest(crossed[0], LocalExecutor(), lambda line: None)


def test_subsets_are_the_folds_and_their_numbers_those_of_the_folders(luna: Path, tmp_path: Path) -> None:
    (tmp_path / "architecture.json").write_text(SMALL_NET)
    spec = experiment(luna, tmp_path / "run", split={"folds": [2, 5], "val": 0.3}, training={"epochs": 1})
    said: list[str] = []
    run(spec, LocalExecutor(), said.append)
    assert [line for line in said if line.startswith("fold ")] == ["fold 0 of 2: subset2", "fold 1 of 2: subset5"]
    table = pq.read_table(spec.out_path / "predictions" / "test.parquet")
    tested = set(zip(table["scan_id"].to_pylist(), table["fold"].to_pylist(), strict=True))
    assert tested == {("1.3.6.1.0.002", 2), ("1.3.6.1.0.005", 5)}
    page = (spec.out_path / "report.html").read_text()
    assert "2 folds ·" in page
    assert all(f'<a href="fold_{fold}/report.html">Fold {fold}</a>' in page for fold in (2, 5))
    assert len(load_run(spec.out_path, device="cpu").folds) == 2
