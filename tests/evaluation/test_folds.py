import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scenes import SMALL_NET, experiment
from sklearn.metrics import roc_auc_score

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
