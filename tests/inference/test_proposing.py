"""A classifier of candidates whose proposals are those of a segmentation network of another run."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scenes import SMALL_NET, SMALL_UNET, experiment, write_annotations, write_luna

import voxray.inference.detector
from voxray.config.experiment import Experiment
from voxray.errors import ConfigError, NotReadyError
from voxray.executors.local import LocalExecutor
from voxray.inference.detector import Detector
from voxray.inference.load import load_trained
from voxray.inference.predict import segment
from voxray.inference.proposing import foreground_map, load_proposing
from voxray.inference.segmenter import Segmenter
from voxray.proposals.peaks import find_peaks
from voxray.runs.folder import run_folder
from voxray.runs.keys import evaluate_key
from voxray.runs.proposing import proposing_run
from voxray.runs.read import read_metrics
from voxray.scans.read import open_scan
from voxray.stages.evaluate import evaluate
from voxray.stages.ingest import ingest
from voxray.stages.outline import plan_run
from voxray.stages.pipeline import run
from voxray.stages.train import train
from voxray.volume import Volume

CPU = torch.device("cpu")
FOLD = {"folds": 3, "fold": 1, "val": 0.25}


def quiet(line: str) -> None:
    """Swallow what a stage says."""


def everywhere(volume: Volume) -> Volume:
    return Volume(np.ones((1, *volume.shape), bool), volume.affine)


@pytest.fixture(scope="module")
def chests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("chests")
    write_luna(root, 9, positives=1, negatives=1, bright=900)
    write_annotations(root, diameter_mm=7.0)
    return root


@pytest.fixture(scope="module")
def proposing(chests: Path, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """Fold 1 of a cross-validation of U-Nets, trained."""
    folder = tmp_path_factory.mktemp("proposing")
    (folder / "unet.json").write_text(json.dumps(SMALL_UNET))
    sections: dict[str, object] = {
        "data": {"masks": "annotations"},
        "split": {"test": 0.0} | FOLD,
        "patches": {"size": [16, 16, 12], "sampling": "foreground", "min_foreground": 0, "oversample_rotations": []},
        "model": {"architecture": str(folder / "unet.json")},
        "training": {"loss": "dice_cross_entropy", "batch_size": 4, "epochs": 1},
    }
    spec = experiment(chests, folder / "cv" / "fold_1", **sections)
    ingest(spec, LocalExecutor(), quiet)
    train(spec, LocalExecutor(), quiet)
    return spec


def classifier(proposing: Experiment, folder: Path, **changes: object) -> Experiment:
    (folder / "architecture.json").write_text(SMALL_NET)
    detection = {"proposals": "model", "model": str(proposing.out_path.parent)}
    sections: dict[str, object] = {"split": {"test": 0.0} | FOLD, "detection": detection, "training": {"epochs": 1}}
    return experiment(proposing.data_path, folder / "run", **{**sections, **changes})


@pytest.fixture(scope="module")
def classified(proposing: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    spec = classifier(proposing, tmp_path_factory.mktemp("classifier"))
    ingest(spec, LocalExecutor(), quiet)
    train(spec, LocalExecutor(), quiet)
    return spec


def test_the_network_of_the_same_fold_proposes_and_that_of_the_folder_without_folds(
    proposing: Experiment, tmp_path: Path
) -> None:
    folder = proposing_run(classifier(proposing, tmp_path))
    assert folder is not None
    assert folder.path == proposing.out_path
    single = classifier(proposing, tmp_path, detection={"proposals": "model", "model": str(proposing.out_path)})
    assert proposing_run(single) == folder
    assert proposing_run(experiment(proposing.data_path, tmp_path / "run")) is None


def test_candidates_are_the_maxima_of_the_networks_map(
    classified: Experiment, proposing: Experiment, chests: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voxray.inference.detector, "find_lungs", everywhere)
    scan = open_scan(next(chests.glob("subset1/*.mhd")))
    candidates = Detector([load_trained(classified.out_path, CPU)]).propose(scan)
    segmenter = Segmenter(load_trained(proposing.out_path, CPU))
    expected = find_peaks(segmenter.foreground(scan), everywhere(scan), 1000)
    assert len(candidates) > 0
    np.testing.assert_allclose(candidates.centers_mm, expected.centers_mm)
    np.testing.assert_allclose(candidates.diameters_mm, expected.diameters_mm)


def test_a_map_is_the_mean_probability_of_no_background(proposing: Experiment, chests: Path) -> None:
    scan = open_scan(next(chests.glob("subset2/*.mhd")))
    segmenter = Segmenter(load_trained(proposing.out_path, CPU))
    segmentation = segment([segmenter.run], scan, "a", probabilities=True)
    assert segmentation.probabilities is not None
    expected = segmentation.probabilities.array[1]
    np.testing.assert_allclose(segmenter.foreground(scan).array[0], expected, atol=1e-6)
    np.testing.assert_allclose(foreground_map([segmenter] * 3, scan, "a").array[0], expected, atol=1e-6)


def test_each_network_is_loaded_once_and_again_after_it_was_trained_again(
    classified: Experiment, proposing: Experiment
) -> None:
    trained = load_trained(classified.out_path, CPU)
    first = load_proposing([trained, trained])
    assert len(first) == 1
    assert load_proposing([trained]) is first
    key, record = evaluate_key(classified, "trained"), run_folder(proposing).stages
    before = record.read_text()
    record.write_text(before.replace(json.loads(before)["train"]["key"], "another"))
    assert evaluate_key(classified, "trained") != key
    assert load_proposing([trained]) is not first
    record.write_text(before)


def test_a_network_that_was_trained_on_scans_that_are_held_out_is_refused(
    classified: Experiment, proposing: Experiment, tmp_path: Path
) -> None:
    plan_run(classified)
    detection = {"proposals": "model", "model": str(proposing.out_path)}
    other = classifier(proposing, tmp_path, split={"test": 0.0} | FOLD | {"fold": 0}, detection=detection)
    with pytest.raises(ConfigError, match=r"scans of the split test( and val)? are in the split train of .*fold_1: "):
        plan_run(other)
    # Nor without its store, by the plan of the other run.
    store = proposing.store_path
    store.rename(store.with_name("elsewhere"))
    try:
        plan_run(classified)
        with pytest.raises(ConfigError, match="are in the split train of"):
            plan_run(other)
    finally:
        store.with_name("elsewhere").rename(store)


def test_a_network_that_is_missing_or_no_segmentation_is_an_error_before_any_work(
    classified: Experiment, proposing: Experiment, tmp_path: Path
) -> None:
    missing = classifier(proposing, tmp_path, detection={"proposals": "model", "model": str(tmp_path / "none")})
    with pytest.raises(NotReadyError, match=r"none: detection\.model: no finished training"):
        plan_run(missing)
    wrong = classifier(proposing, tmp_path, detection={"proposals": "model", "model": str(classified.out_path)})
    with pytest.raises(ConfigError, match="this run trained a classifier of patches"):
        plan_run(wrong)


def test_whole_scans_are_evaluated_with_the_candidates_of_the_network(
    classified: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voxray.inference.detector, "find_lungs", everywhere)
    evaluate(classified, LocalExecutor(), quiet)
    found = read_metrics(run_folder(classified))["test"]["whole_scans"]
    assert found["proposals_per_scan"] > 0
    assert found["nodules"] == found["scans"] == 3


def test_the_networks_of_all_folds_are_checked_before_the_first_fold(proposing: Experiment, tmp_path: Path) -> None:
    spec = classifier(proposing, tmp_path, split={"test": 0.0, "folds": 3, "val": 0.25})
    with pytest.raises(NotReadyError, match=r"cv: detection\.model: no finished training"):
        run(spec, LocalExecutor(), quiet)
    assert not list(spec.out_path.glob("fold_*"))


@pytest.mark.parametrize(
    ("detection", "problem"),
    [
        ({"proposals": "model"}, "model: missing"),
        ({"model": "runs/unet"}, "model: has no effect with proposals = 'log'"),
    ],
)
def test_the_network_is_named_where_it_proposes_and_nowhere_else(
    detection: dict[str, str], problem: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=problem):
        experiment(tmp_path, tmp_path / "run", detection=detection)
