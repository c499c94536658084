import doctest
import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from api_runs import ApiRuns
from scenes import write_toml

import voxray
import voxray.api.experiments
import voxray.api.patch_store
import voxray.api.trained_run
import voxray.api.volumes
import voxray.metrics.masks
import voxray.volume
from voxray.errors import ConfigError, NotReadyError, ScanError, StoreError, VoxrayError
from voxray.executors.local import LocalExecutor
from voxray.inference.predict import predict_volume
from voxray.prediction.files import Options
from voxray.runs.folder import RunFolder
from voxray.scans.read import open_scan
from voxray.stages.predict import predict
from voxray.training.fit import make_loader, make_preprocessing


def test_importing_voxray_imports_neither_numpy_nor_torch() -> None:
    code = (
        "import sys, voxray; print(voxray.__version__, dir(voxray)); "
        "assert not {'numpy', 'torch', 'pyarrow', 'pydantic'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    for name in voxray.__all__:
        assert name in result.stdout
        assert getattr(voxray, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'unknown'"):
        voxray.unknown  # noqa: B018


def examples() -> list[doctest.DocTest]:
    api = (voxray.api.experiments, voxray.api.patch_store, voxray.api.trained_run, voxray.api.volumes)
    modules = (*api, voxray.volume, voxray.metrics.masks)
    return [test for module in modules for test in doctest.DocTestFinder().find(module) if test.examples]


@pytest.mark.parametrize("test", examples(), ids=lambda test: test.name)
def test_examples_of_docstrings_run(test: doctest.DocTest, api_runs: ApiRuns) -> None:
    test.globs |= {"voxray": voxray, **api_runs.names}
    output: list[str] = []
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=output.append)
    assert not result.failed, "".join(output)


def test_everything_public_has_an_example() -> None:
    with_examples = {test.name.removeprefix(test.globs["__name__"] + ".") for test in examples()}
    for name in ("read_scan", "load_config", "open_store", "load_run", "run", "ingest", "train", "evaluate", "report"):
        assert name in with_examples
    for name in ("Store", "Store.dataset", "Store.loader", "Run", "Run.predict"):
        assert name in with_examples


def test_a_classifier_predicts_what_the_command_predicts(api_runs: ApiRuns, tmp_path: Path) -> None:
    run = voxray.load_run(api_runs.classifier, device="cpu")
    scans = sorted((api_runs.classifier.parents[1] / "chests").glob("s*.nii.gz"))[:3]
    predict(api_runs.classifier, scans, Options(tmp_path), LocalExecutor(), lambda line: None)
    for scan in scans:
        written = json.loads((tmp_path / f"{scan.name.removesuffix('.nii.gz')}.json").read_text())
        volume = voxray.read_scan(scan)
        same = [run.predict(volume), run.predict(volume.array, affine=volume.affine)]
        same.append(run.predict(volume.array[0], affine=volume.affine))
        for prediction in same:
            assert dict(zip(run.classes, prediction.probabilities, strict=True)) == written["probabilities"]
            assert prediction.threshold == written["threshold"]
            assert prediction.label == int(prediction.probabilities[1] >= prediction.threshold)


def test_a_segmentation_predicts_what_the_command_predicts(api_runs: ApiRuns, tmp_path: Path) -> None:
    run = voxray.load_run(str(api_runs.segmentation))
    options = Options(tmp_path, probabilities=True)
    predict(api_runs.segmentation, [api_runs.brain], options, LocalExecutor(), lambda line: None)
    name = api_runs.brain.name.removesuffix(".nii.gz")
    volume = voxray.read_scan(api_runs.brain)
    prediction = run.predict(volume, probabilities=True)
    for found, kind in ((prediction.labels, "seg"), (prediction.probabilities, "prob")):
        written = open_scan(tmp_path / f"{name}_{kind}.nii.gz")
        np.testing.assert_array_equal(np.asarray(found), written.array)
        np.testing.assert_allclose(found.affine, volume.affine)
        assert found.shape == volume.shape
    # In other axes the prediction is the same, and in those axes.
    turned = np.diag([-1.0, 1.0, 1.0, 1.0])
    again = run.predict(volume.array[:, ::-1], affine=volume.affine @ turned)
    assert np.mean(again.labels.array[:, ::-1] != prediction.labels.array) < 0.01


def test_folds_load_as_one_run_that_averages_their_probabilities(api_runs: ApiRuns) -> None:
    run = voxray.load_run(api_runs.folds)
    assert len(run.folds) == 2
    assert "2 folds" in repr(run)
    assert run.history["fold"].to_pylist() == [0, 0, 1, 1]
    assert run.metrics["test"]["samples"] == 12
    assert run.threshold == pytest.approx(np.mean([fold.threshold for fold in run.folds]))
    volume = voxray.read_scan(api_runs.names["chest"])
    parts = [fold.predict(volume).probabilities for fold in run.folds]
    prediction = run.predict(volume)
    np.testing.assert_allclose(prediction.probabilities, np.mean(parts, axis=0))
    assert prediction.label == int(prediction.probabilities[1] >= prediction.threshold)
    with pytest.raises(ConfigError, match="has a model for each of 2 folds"):
        run.model  # noqa: B018


@pytest.mark.parametrize(
    ("section", "key", "value"), [("training", "learning_rate", 0.02), ("evaluation", "target_recall", 0.5)]
)
def test_folds_of_other_settings_are_not_averaged(
    api_runs: ApiRuns, tmp_path: Path, section: str, key: str, value: float
) -> None:
    folds = Path(shutil.copytree(api_runs.folds, tmp_path / "folds"))
    fold = RunFolder(folds / "fold_1")
    content = json.loads(fold.experiment.read_text())
    content[section][key] = value
    fold.experiment.write_text(json.dumps(content))
    fold.stages.unlink()  # as if it had been trained so
    what = "the fold was trained with other settings than the cross-validation"
    words = rf"fold_1: {what}: {section}\.{key} was .*, now {value}\."
    with pytest.raises(StoreError, match=words):
        voxray.load_run(folds)
    with pytest.raises(StoreError, match=words):
        predict(folds, [Path(api_runs.names["chest"])], Options(tmp_path / "answers"), LocalExecutor(), print)


def test_folds_of_another_network_are_not_averaged(api_runs: ApiRuns, tmp_path: Path) -> None:
    folds = Path(shutil.copytree(api_runs.folds, tmp_path / "folds"))
    fold = RunFolder(folds / "fold_1")
    fold.architecture.write_text("{}")
    fold.stages.unlink()  # as if it had been trained so
    with pytest.raises(StoreError, match=r"fold_1: .*another model\.architecture than fold_0\. Run voxray run"):
        voxray.load_run(folds)


def test_folds_of_a_segmentation_average_their_probabilities(api_runs: ApiRuns) -> None:
    run = voxray.load_run(api_runs.segmentation)
    volume = voxray.read_scan(api_runs.brain)
    single = run.predict(volume, probabilities=True)
    twice = predict_volume([*run.trained, *run.trained], volume, None, probabilities=True)
    np.testing.assert_allclose(twice.probabilities.array, single.probabilities.array, atol=1e-6)
    np.testing.assert_array_equal(twice.labels.array, single.labels.array)


def test_loader_and_dataset_give_what_training_is_given(api_runs: ApiRuns) -> None:
    for folder in (api_runs.candidates, api_runs.segmentation):
        store = voxray.open_store(folder / "store")
        assert store.config is not None
        target = "mask" if store.info.masks else "label"
        cpu = torch.device("cpu")
        preprocessing = make_preprocessing(store.config, 3, cpu)
        expected = [
            preprocessing.inputs(batch, None) for batch in make_loader(store.config, store, "val", cpu).epoch(None)
        ]
        batches = list(store.loader("val", batch_size=store.config.training.batch_size))
        assert len(batches) == len(expected)
        for batch, inputs in zip(batches, expected, strict=True):
            torch.testing.assert_close(batch["image"], inputs.images)
            torch.testing.assert_close(batch[target], inputs.labels)
        items = [store.dataset("val")[number] for number in range(len(store.dataset("val")))]
        torch.testing.assert_close(
            torch.stack([item["image"] for item in items]), torch.cat([batch["image"] for batch in batches])
        )
        assert [item["scan_id"] for item in items] == [name for batch in batches for name in batch["scan_id"]]
        assert items[-1]["patient_id"] == store.dataset("val")[-1]["patient_id"]
        raw = store.dataset("val", normalize=False)[0]["image"]
        assert raw.dtype == getattr(torch, store.info.dtype)
        np.testing.assert_array_equal(raw, store.open_images("val")[int(store.rows("val")["slot"][0].as_py())])


def test_each_epoch_of_the_train_loader_has_its_own_order_and_the_seed_repeats_it(api_runs: ApiRuns) -> None:
    store = voxray.open_store(api_runs.candidates / "store")

    def labels(loader: Any) -> list[int]:
        return [label for batch in loader for label in batch["label"].tolist()]

    first, second = store.loader("train", 16, seed=3), store.loader("train", 16, seed=3)
    epochs = [labels(first), labels(first)]
    assert epochs == [labels(second), labels(second)]
    assert epochs[0] != epochs[1]
    assert sorted(epochs[0]) == sorted(store.rows("train")["label"].to_pylist())
    assert len(first) == len(list(first))


def test_a_store_that_belongs_to_no_run_says_how_to_normalize(api_runs: ApiRuns, tmp_path: Path) -> None:
    (tmp_path / "store").symlink_to(api_runs.candidates / "store")
    store = voxray.open_store(tmp_path / "store")
    with pytest.raises(ConfigError, match="the store does not say how its patches are normalized"):
        store.loader("train")
    assert store.dataset("train", normalize=False)[0]["image"].dtype == torch.int16
    with pytest.raises(ConfigError, match=r"expected a split of the store, got 'vall'\. It has train, val, test"):
        voxray.open_store(api_runs.candidates / "store").loader("vall")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size: expected an integer from 1, got 0"),
        ({"batch_size": 2.5}, "batch_size: expected an integer from 1, got 2.5"),
        ({"batch_size": True}, "batch_size: expected an integer from 1, got True"),
        ({"batch_size": "8"}, "batch_size: expected an integer from 1, got '8'"),
        ({"seed": -1}, "seed: expected an integer from 0, got -1"),
        ({"seed": None}, "seed: expected an integer from 0, got None"),
    ],
)
def test_a_loader_refuses_what_makes_no_batches(api_runs: ApiRuns, settings: dict[str, Any], message: str) -> None:
    store = voxray.open_store(api_runs.candidates / "store")
    with pytest.raises(ConfigError, match=message):
        store.loader("train", **settings)
    loader = store.loader("train", np.int64(4), seed=np.int64(2))
    assert len(next(iter(loader))["label"]) == 4


@pytest.mark.parametrize("stage", ["run", "ingest", "train", "evaluate", "report", "load_config"])
@pytest.mark.parametrize("config", [None, 3, {"name": "x"}])
def test_what_is_neither_an_experiment_nor_a_path_is_refused(stage: str, config: Any) -> None:
    with pytest.raises(ConfigError, match="config: expected a path or URL, got"):
        getattr(voxray, stage)(config)


def test_other_objects_than_paths_volumes_and_experiments_are_refused(api_runs: ApiRuns) -> None:
    for function in (voxray.open_store, voxray.load_run, voxray.read_scan):
        with pytest.raises(ConfigError, match="expected a path or URL, got None"):
            function(None)
    with pytest.raises(ConfigError, match=r"config: expected Experiment, got str\. Give voxray\.load_config"):
        voxray.open_store(api_runs.candidates / "store", "experiment.toml")
    run, volume = voxray.load_run(api_runs.classifier), voxray.read_scan(api_runs.names["chest"])
    with pytest.raises(ConfigError, match=r"mask: expected Volume, got ndarray\. Give voxray\.read_scan"):
        run.predict(volume, mask=np.zeros((4, 4, 4)))
    for array, affine in ((None, np.eye(4)), ([[1, 2], [3]], np.eye(4)), (volume.array, "RAS")):
        with pytest.raises(ConfigError, match="expected a Volume or an array, got"):
            run.predict(array, affine=affine)


def test_errors_are_also_those_of_python(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        voxray.open_store(tmp_path)
    with pytest.raises(NotReadyError, match=r"no run is here\. Run voxray train first"):
        voxray.load_run(tmp_path)
    with pytest.raises(ValueError, match="no such experiment file"):
        voxray.load_config(tmp_path / "experiment.toml")
    assert issubclass(voxray.errors.ConfigError, VoxrayError)


@pytest.mark.parametrize(
    ("array", "affine", "message"),
    [
        (np.zeros((4, 4, 4)), None, "an array was given without affine"),
        (np.zeros((4, 4)), np.eye(4), r"expected shape \(channel, x, y, z\) or \(x, y, z\), got \(4, 4\)"),
        (np.zeros((4, 4, 4)), np.eye(3), r"expected shape \(4, 4\), got \(3, 3\)"),
        (np.zeros((4, 4, 4)), np.zeros((4, 4)), "affine"),
        (np.zeros((2, 4, 4, 4)), np.eye(4), "expected 1 channel, got 2"),
        (np.full((4, 4, 4), np.nan), np.eye(4), "no finite number|not finite"),
        (np.zeros((4, 4, 4), bool), np.eye(4), "expected integers or floats, got bool"),
        (np.zeros((4, 0, 4)), np.eye(4), "without empty axes"),
        (np.zeros((4, 4, 4)), np.ones((4, 4)), "a last row of 0 0 0 1"),
    ],
)
def test_an_array_that_cannot_be_predicted_says_why(api_runs: ApiRuns, array: Any, affine: Any, message: str) -> None:
    with pytest.raises(ScanError, match=message):
        voxray.load_run(api_runs.classifier).predict(array, affine=affine)


def test_the_path_of_a_scan_in_place_of_a_volume_says_how_to_read_it(api_runs: ApiRuns) -> None:
    run: Any = voxray.load_run(api_runs.classifier)
    for path in ("scan.nii.gz", Path("scan.nii.gz")):
        with pytest.raises(ConfigError, match=r"got .*scan\.nii\.gz.*\. Give voxray\.read_scan\(path\)"):
            run.predict(path)


def test_devices_and_damaged_runs_are_refused_with_a_reason(api_runs: ApiRuns, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected 'auto', 'cpu' or 'cuda', got 'gpu'"):
        voxray.load_run(api_runs.classifier, device="gpu")
    volume = voxray.Volume(np.zeros((4, 4, 4)), np.eye(4))
    with pytest.raises(ScanError, match=r"expected shape \(channel, x, y, z\)"):
        voxray.load_run(api_runs.classifier).predict(volume)
    for content in ("", "{}", '{"name": "x", "recipe": 1}'):
        (tmp_path / "experiment.json").write_text(content)
        with pytest.raises(StoreError, match=r"experiment\.json: cannot be read by this version.* Train again"):
            voxray.load_run(tmp_path)


def test_settings_replace_those_of_the_file(api_runs: ApiRuns, tmp_path: Path) -> None:
    source = voxray.load_config(api_runs.names["experiment_file"])
    path = write_toml(tmp_path / "experiment.toml", source)
    settings = {"training.epochs": 7, "augment.flip": ["x"], "patches.oversample_rotations": [], "out": tmp_path}
    config = voxray.load_config(path, {**settings, "name": 'a "name"', "tracking.mode": "disabled"})
    assert (config.training.epochs, config.augment.flip, config.out) == (7, ("x",), str(tmp_path))
    assert config.name == 'a "name"'
    config = voxray.load_config(path, {"name": "😀", "seed": np.int64(5), "tracking.group": None})
    assert (config.name, config.seed, config.tracking.group) == ("😀", 5, None)
    with pytest.raises(ConfigError, match=r"training\.epoch"):
        voxray.load_config(path, {"training.epoch": 7})
    with pytest.raises(ConfigError, match=r"data\.layout: unknown layout 'lunar16'; did you mean 'luna16'\?"):
        voxray.load_config(path, {"data.layout": "lunar16"})


def test_stages_log_what_they_do(api_runs: ApiRuns, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="voxray"):
        voxray.train(api_runs.names["experiment_file"])
    assert any("finished earlier" in record.message for record in caplog.records)
    lines: list[str] = []
    voxray.report(api_runs.names["experiment_file"], on_status=lines.append)
    assert lines[-1].startswith("report: ")


def test_metrics_of_masks_are_plain_functions() -> None:
    truth = np.zeros((6, 6, 6), bool)
    truth[1:4, 1:4, 1:4] = True
    assert voxray.metrics.dice(truth, np.roll(truth, 1, 0)) == pytest.approx(2 / 3)
    volume = voxray.Volume(truth[None].astype(np.uint8), np.eye(4))
    assert voxray.metrics.dice(volume, truth) == 1
    assert voxray.metrics.hd95_mm(volume, np.roll(truth, 1, 0), volume.spacing_mm) == 1
    with pytest.raises(ScanError, match="shape"):
        voxray.metrics.dice(truth, truth[:3])
