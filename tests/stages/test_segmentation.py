"""Segmentation from a Decathlon folder to metrics in millimeters and label maps, in one process."""

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from s3_server import S3
from scenes import SMALL_UNET, experiment

from voxray.cli.app import main
from voxray.config.experiment import Experiment
from voxray.errors import ConfigError, ScanError, WorkError
from voxray.evaluation.scans import evaluate_scan, scans_to_evaluate
from voxray.executors.local import LocalExecutor
from voxray.inference.load import TrainedRun, load_trained
from voxray.inference.predict import segment
from voxray.inference.segmenter import Segmenter
from voxray.metrics.calibration import Calibration
from voxray.models.spec.load import parse_architecture
from voxray.models.spec.unet import UNet
from voxray.patches.cut import CutSettings
from voxray.patches.foreground import foreground_counts
from voxray.phantom.decathlon import write_decathlon
from voxray.prediction.files import Options
from voxray.runs.folder import run_folder
from voxray.scans.read import open_file, open_scan
from voxray.stages.evaluate import evaluate
from voxray.stages.ingest import ingest
from voxray.stages.outline import plan_run
from voxray.stages.predict import predict
from voxray.stages.report import report
from voxray.stages.train import train
from voxray.store.read import open_store
from voxray.training.fit import make_loader, make_preprocessing

SHAPE = (40, 36, 24)
CPU = torch.device("cpu")
PLACE = ["split", "scan_id", "x_start", "y_start", "z_start", "checksum"]


def quiet(line: str) -> None:
    """Swallow what a stage says."""


def spec_of(root: Path, folder: Path, **changes: object) -> Experiment:
    (folder / "architecture.json").write_text(json.dumps(SMALL_UNET))
    sections: dict[str, object] = {
        "data": {"layout": "decathlon"},
        "patches": {
            "size": [24, 24, 12],
            "sampling": "foreground",
            "patches_per_scan": 2,
            "oversample_rotations": [],
            "pad_value": 0,
        },
        "store": {"dtype": "float32", "chunk_bytes": 2**18, "shard_bytes": 2**20},
        "intensity": {"kind": "zscore_nonzero"},
        "training": {
            "loss": "dice_cross_entropy",
            "monitor": "dice",
            "batch_size": 2,
            "learning_rate": 0.01,
            "epochs": 2,
        },
    }
    return experiment(root, folder / "run", **{**sections, **changes})


@pytest.fixture(scope="module")
def brains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("brains")
    write_decathlon(root, cases=6, seed=1, shape=SHAPE)
    return root


@pytest.fixture(scope="module")
def finished(brains: Path, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    spec = spec_of(brains, tmp_path_factory.mktemp("segmentation"))
    ingest(spec, LocalExecutor(), quiet)
    train(spec, LocalExecutor(), quiet)
    evaluate(spec, LocalExecutor(), quiet)
    return spec


def test_patches_and_masks_are_cut_from_the_same_place(finished: Experiment, brains: Path) -> None:
    store = open_store(finished.store_path)
    assert store.info.masks
    assert store.info.channels == 4
    for split in store.info.shards:
        images, masks = store.open_images(split), store.open_masks(split)
        for row in store.rows(split).to_pylist():
            starts = [row[f"{axis}_start"] for axis in "xyz"]
            box = tuple(slice(start, start + n) for start, n in zip(starts, (24, 24, 12), strict=True))
            image, label = open_scan(brains / row["path"]), open_scan(brains / row["label_path"])
            np.testing.assert_array_equal(np.asarray(images[row["slot"]]), image.array[(slice(None), *box)])
            np.testing.assert_array_equal(np.asarray(masks[row["slot"]]), label.array[(0, *box)])
            most = foreground_counts(label.array[0], (24, 24, 12)).max()
            assert np.count_nonzero(masks[row["slot"]]) >= min(most, 0.05 * 24 * 24 * 12)
    assert store.index.num_rows == 12


def test_the_boxes_of_a_scan_do_not_depend_on_how_many_shards_it_fills(
    finished: Experiment, brains: Path, tmp_path: Path
) -> None:
    spread = spec_of(brains, tmp_path, store={"dtype": "float32", "chunk_bytes": 2**10, "shard_bytes": 2**10})
    ingest(spread, LocalExecutor(), quiet)
    stores = [open_store(spec.store_path) for spec in (finished, spread)]
    assert [store.info.patches_per_shard for store in stores] == [8, 1]
    found, same = (sorted(store.index.select(PLACE).to_pylist(), key=str) for store in stores)
    assert found == same
    assert len({str(row) for row in found}) == len(found) == 12


def test_training_reports_dice_and_metrics_are_those_of_whole_scans(finished: Experiment) -> None:
    history = pq.read_table(finished.out_path / "history.parquet").to_pylist()
    assert {"val_dice", "val_loss"} <= set(history[0])
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    metrics = json.loads((finished.out_path / "metrics.json").read_text())
    classes = open_store(finished.store_path).info.classes[1:]
    for split in ("val", "test"):
        cases = pq.read_table(finished.out_path / "predictions" / f"{split}.parquet").to_pylist()
        assert metrics[split]["scans"] == len(cases)
        for name in classes:
            assert metrics[split][f"dice/{name}"] == pytest.approx(np.mean([case[f"dice/{name}"] for case in cases]))
        assert metrics[split]["dice"] == pytest.approx(np.mean([metrics[split][f"dice/{name}"] for name in classes]))


def test_predictions_lie_on_the_scan_in_its_own_geometry(finished: Experiment, brains: Path, tmp_path: Path) -> None:
    source = sorted((brains / "imagesTr").glob("*.nii.gz"))[0]
    image = nibabel.load(source)
    turned = image.as_reoriented(np.array([[1, -1], [0, 1], [2, -1], [3, 1]])[:3])
    nibabel.save(turned, tmp_path / "turned.nii.gz")
    scans = [source, tmp_path / "turned.nii.gz"]
    predict(finished.out_path, scans, Options(tmp_path / "out", True), LocalExecutor(), quiet)
    found = [nibabel.load(tmp_path / "out" / f"{name}_seg.nii.gz") for name in (source.name[:-7], "turned")]
    for path, labels in zip(scans, found, strict=True):
        assert labels.shape == nibabel.load(path).shape[:3]
        np.testing.assert_allclose(labels.affine, nibabel.load(path).affine)
    again = found[1].as_reoriented(
        nibabel.orientations.ornt_transform(
            nibabel.io_orientation(found[1].affine), nibabel.io_orientation(found[0].affine)
        )
    )
    np.testing.assert_array_equal(np.asarray(again.dataobj), np.asarray(found[0].dataobj))
    shares = nibabel.load(tmp_path / "out" / "turned_prob.nii.gz").get_fdata()
    np.testing.assert_allclose(shares.sum(-1), 1, atol=1e-4)
    np.testing.assert_array_equal(shares.argmax(-1), np.asarray(found[1].dataobj))


def test_run_scan_and_label_map_may_lie_in_storage(
    s3: S3, finished: Experiment, brains: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = sorted((brains / "imagesTr").glob("*.nii.gz"))[0]
    predict(finished.out_path, [source], Options(tmp_path / "out"), LocalExecutor(), quiet)
    run, scans, out = s3.put_folder(Path(finished.out)), s3.put_folder(brains), s3.new_folder()
    with pytest.raises(SystemExit) as end:
        main(["predict", str(run), str(scans / "imagesTr" / source.name), "--out", str(out), "--no-ray"])
    assert not end.value.code
    name = f"{source.name[:-7]}_seg.nii.gz"
    assert f"{out}/{name}" in capsys.readouterr().out
    assert s3.contents(out)[name] == (tmp_path / "out" / name).read_bytes()


def test_a_mask_may_keep_its_axes_in_another_order_than_its_image(
    finished: Experiment, brains: Path, tmp_path: Path
) -> None:
    source = sorted((brains / "labelsTr").glob("*.nii.gz"))[0]
    turned = nibabel.load(source).as_reoriented(np.array([[2, 1], [0, -1], [1, 1]]))
    nibabel.save(turned, tmp_path / "turned.nii.gz")
    segmenter = Segmenter(load_trained(finished.out_path, CPU))
    case = {"split": "again", "path": f"imagesTr/{source.name}", "label_path": f"labelsTr/{source.name}", "name": "a"}
    plain, again = (
        evaluate_scan(segmenter, case | {"files": [str(brains / case["path"]), str(label)]})
        for label in (source, tmp_path / "turned.nii.gz")
    )
    metrics = {name: value for name, value in plain.items() if isinstance(value, float)}
    assert sum(value > 0 for name, value in metrics.items() if name.startswith("dice/")) > 0
    assert metrics == pytest.approx({name: again[name] for name in metrics}, nan_ok=True)


def test_a_scan_that_cannot_be_segmented_is_named_and_the_others_are_segmented(
    finished: Experiment, brains: Path, tmp_path: Path
) -> None:
    label = sorted((brains / "labelsTr").glob("*.nii.gz"))[0]
    image = sorted((brains / "imagesTr").glob("*.nii.gz"))[1]
    statuses: list[str] = []
    with pytest.raises(WorkError, match="1 of 2 scans were skipped"):
        predict(finished.out_path, [label, image], Options(tmp_path), LocalExecutor(), statuses.append)
    assert any("expected 4 channels, got 1" in line for line in statuses)
    assert (tmp_path / f"{image.name[:-7]}_seg.nii.gz").exists()


def test_a_resampled_run_still_predicts_on_the_scans_own_grid(brains: Path, tmp_path: Path) -> None:
    patches = {
        "size": [16, 16, 16],
        "sampling": "random",
        "spacing_mm": [2.0, 2.0, 1.5],
        "oversample_rotations": [],
        "pad_value": 0,
    }
    spec = spec_of(brains, tmp_path, patches=patches, training={"epochs": 1, "loss": "dice", "batch_size": 4})
    ingest(spec, LocalExecutor(), quiet)
    train(spec, LocalExecutor(), quiet)
    source = sorted((brains / "imagesTr").glob("*.nii.gz"))[0]
    predict(spec.out_path, [source], Options(tmp_path / "out"), LocalExecutor(), quiet)
    labels = open_file(tmp_path / "out" / f"{source.name[:-7]}_seg.nii.gz")
    assert labels.shape == open_file(source).shape
    np.testing.assert_allclose(labels.affine, open_file(source).affine, atol=1e-5)


def test_a_network_that_learns_from_crops_gets_inputs_of_their_size_everywhere(brains: Path, tmp_path: Path) -> None:
    crop = [16, 12]  # slices of volumes
    augment = {"crop": crop, "crops_per_patch": 3, "flip": ["x"]}
    training = {"epochs": 1, "loss": "dice", "batch_size": 4}
    spec = spec_of(brains, tmp_path, augment=augment, training=training, evaluation={"overlap": 0})
    (tmp_path / "architecture.json").write_text(json.dumps({**SMALL_UNET, "dimensions": 2}))
    assert plan_run(spec).network.input_shape == (4, *crop)
    assert plan_run(spec).training_patches == 3 * plan_run(spec).plan.count("train")
    ingest(spec, LocalExecutor(), quiet)
    train(spec, LocalExecutor(), quiet)
    trained = load_trained(spec.out_path, CPU)
    seen: list[tuple[int, ...]] = []
    trained.model.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape[1:])))
    evaluate_scan(Segmenter(trained), scans_to_evaluate(spec, open_store(spec.store_path), "test")[0])
    assert set(seen) == {(4, *crop)}
    evaluate(spec, LocalExecutor(), quiet)
    report(spec, quiet)
    page = (spec.out_path / "report.html").read_text()
    assert f"crops of {' × '.join(map(str, crop))} voxels · 2D network" in page
    assert "augmented 1" in page


def test_settings_of_the_other_task_are_refused(brains: Path, tmp_path: Path) -> None:
    spec = spec_of(brains, tmp_path, training={"loss": "cross_entropy", "monitor": "roc_auc"})
    unknown = r"training\.monitor: unknown metric 'roc_auc' for segmentation; known: dice, dice/"
    with pytest.raises(ConfigError, match=unknown):
        ingest(spec, LocalExecutor(), quiet)
    spec_with_masks = spec_of(brains, tmp_path, training={"loss": "cross_entropy"})
    ingest(spec_with_masks, LocalExecutor(), quiet)
    with pytest.raises(ConfigError, match=unknown):
        train(spec, LocalExecutor(), quiet)
    (tmp_path / "architecture.json").write_text('[{"type": "T", "activation": null}]')
    with pytest.raises(ConfigError, match="scans with masks need a U-Net"):
        train(spec_with_masks, LocalExecutor(), quiet)


@pytest.mark.parametrize("size", [[24, 24, 12], [48, 16, 32]])
@pytest.mark.parametrize("kind", ["zscore_slice", "zscore", "zscore_nonzero", "percentiles", "window"])
def test_a_window_of_a_scan_is_what_training_saw_of_that_place(
    brains: Path, tmp_path: Path, kind: str, size: list[int]
) -> None:
    patches = {"size": size, "sampling": "grid", "oversample_rotations": [], "pad_value": -5}
    spec = spec_of(
        brains, tmp_path, patches=patches, intensity={"kind": kind, "window": [0, 900]}, evaluation={"overlap": 0}
    )
    ingest(spec, LocalExecutor(), quiet)
    store = open_store(spec.store_path)
    loader, preprocessing = make_loader(spec, store, "val", CPU), make_preprocessing(spec, 3, CPU)
    expected = torch.cat([preprocessing.inputs(batch, None).images for batch in loader.epoch(None)])
    seen: list[torch.Tensor] = []

    def model(windows: torch.Tensor) -> torch.Tensor:
        seen.append(windows.clone())
        return windows

    network = parse_architecture(SMALL_UNET, "net")
    assert isinstance(network, UNet)
    settings = CutSettings.from_provenance(store.info.provenance, 4, store.info.classes, masks=True)
    measured = (None, None, None, Calibration())  # thresholds, operating point
    parts: tuple[Any, ...] = (network, store.info.classes, *measured, model, preprocessing, settings)
    run = TrainedRun(run_folder(spec), "segmentation", spec, *parts)
    # Without overlap the windows of a scan are the boxes of its grid, in the same order.
    for path in dict.fromkeys(store.rows("val")["path"].to_pylist()):
        segment([run], open_file(brains / path), path)
    torch.testing.assert_close(torch.cat(seen), expected, rtol=1e-4, atol=1e-4)


def test_padding_counts_neither_in_the_loss_nor_in_the_metrics(brains: Path, tmp_path: Path) -> None:
    patches = {"size": [64, 64, 32], "sampling": "whole", "oversample_rotations": [], "pad_value": 0}
    spec = spec_of(brains, tmp_path, patches=patches, intensity={"kind": "zscore"}, store={"dtype": "float32"})
    ingest(spec, LocalExecutor(), quiet)
    feed = make_loader(spec, open_store(spec.store_path), "train", CPU)
    inputs = make_preprocessing(spec, 3, CPU).inputs(next(iter(feed.epoch(None))), None)
    assert inputs.valid is not None
    assert int(inputs.valid[0].sum()) == np.prod(SHAPE)
    assert not inputs.images[~inputs.valid.expand_as(inputs.images)].any()
    inside = inputs.images[0, 0][inputs.valid[0, 0]]
    assert inside.mean() == pytest.approx(0, abs=1e-4)
    assert inside.std() == pytest.approx(1, abs=1e-2)


def test_whatever_fails_in_an_evaluation_names_the_scan(finished: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **_regions: object) -> None:
        raise MemoryError("cannot allocate 1.8 TiB")

    monkeypatch.setattr("voxray.evaluation.scans.scan_metrics", fail)
    segmenter = Segmenter(load_trained(finished.out_path, CPU))
    case = scans_to_evaluate(finished, open_store(finished.store_path), "test")[0]
    with pytest.raises(ScanError, match="cannot be predicted: MemoryError: cannot allocate") as error:
        evaluate_scan(segmenter, case)
    assert error.value.where == case["files"][0]
