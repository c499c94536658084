import json
import math
from pathlib import Path

import nibabel
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from scenes import SMALL_NET, experiment

from voxray.config.experiment import Experiment
from voxray.errors import ScanError, VoxrayError, WorkError
from voxray.evaluation.patches import predict_split, write_patch_metrics
from voxray.executors.local import LocalExecutor
from voxray.inference.classifier import Classifier
from voxray.inference.load import load_trained
from voxray.inference.predict import classify
from voxray.prediction.files import Options
from voxray.runs.folder import run_folder
from voxray.scans.read import open_file, open_scan
from voxray.stages.evaluate import evaluate
from voxray.stages.ingest import ingest
from voxray.stages.predict import predict
from voxray.stages.train import train
from voxray.store.read import open_store
from voxray.training.loop import choose_device
from voxray.volume import Volume

CPU = choose_device("cpu")


def write_scans(root: Path, count: int = 12) -> None:
    rng = np.random.default_rng(0)
    lines = ["path,label,patient_id,split"]
    for number in range(count):
        voxels = rng.integers(-1000, -600, (14, 15, 9)).astype(np.int16)
        if number % 2:
            voxels[4:9, 5:10, 3:6] = 200
        name = f"s{number}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.0, 1.0, 2.0, 1.0])), root / name)
        split = "val" if number > 9 else "test" if number > 7 else "train"
        lines.append(f"{name},{('well', 'ill')[number % 2]},p{number},{split}")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    folder = tmp_path_factory.mktemp("classify")
    (folder / "scans").mkdir()
    write_scans(folder / "scans")
    (folder / "architecture.json").write_text(SMALL_NET)
    spec = experiment(
        folder / "scans",
        folder / "run",
        data={"layout": "table", "classes": ["well", "ill"]},
        patches={
            "size": [12, 12, 6],
            "sampling": "resized",
            "negatives_per_positive": "all",
            "oversample_rotations": [],
        },
        training={"epochs": 6, "learning_rate": 0.01, "batch_size": 4},
    )
    for stage in (ingest, train, evaluate):
        stage(spec, LocalExecutor(), lambda line: None)
    return spec


def test_a_scan_is_classified_as_it_was_in_the_evaluation(trained: Experiment) -> None:
    store = open_store(trained.store_path)
    classifier = Classifier(load_trained(trained.out_path, CPU))
    for split in ("val", "test"):
        for row, expected in predicted(trained, split):
            prediction = classifier.predict(classifier.prepare(open_scan(Path(trained.data.root) / row["path"])))
            np.testing.assert_allclose(prediction.probabilities, expected, atol=1e-5)
    label, images, saliency = classifier.saliency(prediction)
    assert images.shape == saliency.shape == (1, *store.info.size)
    assert label == 1


def test_a_network_that_gives_nan_is_an_error_in_place_of_a_prediction(trained: Experiment) -> None:
    run = load_trained(trained.out_path, CPU)
    with torch.no_grad():
        next(run.model.parameters()).fill_(math.nan)
    with pytest.raises(ScanError, match=r"the network gives it no probability \(NaN\)"):
        classify([run], open_scan(Path(trained.data.root) / "s0.nii.gz"), None, "s0")
    before = run_folder(trained).metrics.read_bytes()
    part = predict_split(trained, run, "val", (0, 1), lambda *progress: None)
    with pytest.raises(WorkError, match=r"split 'val': the network gives no probability \(NaN\) to 2 of 2 patches"):
        write_patch_metrics(trained, {"val": [part]})
    assert run_folder(trained).metrics.read_bytes() == before


def predicted(spec: Experiment, split: str) -> list[tuple[dict[str, object], list[float]]]:
    rows = pq.read_table(run_folder(spec).predictions(split)).to_pylist()
    return [(row, row["probabilities"]) for row in rows]


def test_predict_reports_probabilities_and_class_and_writes_both_files(trained: Experiment, tmp_path: Path) -> None:
    said: list[str] = []
    scans = [Path(trained.data.root) / f"s{number}.nii.gz" for number in (8, 9)]
    predict(trained.out_path, scans, Options(tmp_path / "out"), LocalExecutor(), said.append)
    threshold = load_trained(trained.out_path, CPU).threshold
    for scan, line in zip(("s8", "s9"), said, strict=True):
        found = json.loads((tmp_path / "out" / f"{scan}.json").read_text())
        assert sum(found["probabilities"].values()) == pytest.approx(1)
        assert found["prediction"] == ("ill" if found["probabilities"]["ill"] >= threshold else "well")
        assert f"ill {100 * found['probabilities']['ill']:.1f} %" in line
        assert f"predicted {found['prediction']}" in line
        assert (tmp_path / "out" / f"{scan}_saliency.png").read_bytes()[:4] == b"\x89PNG"


def test_a_scan_that_fails_in_any_way_is_skipped_and_the_others_are_classified(
    trained: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = [Path(trained.data.root) / f"s{number}.nii.gz" for number in (1, 2)]

    def open_or_fail(path: Path) -> Volume:
        if path == scans[0]:
            raise MemoryError("cannot allocate 1.8 TiB")
        return open_file(path)

    monkeypatch.setattr("voxray.prediction.predictor.open_file", open_or_fail)
    said: list[str] = []
    with pytest.raises(WorkError, match="1 of 2 scans were skipped"):
        predict(trained.out_path, scans, Options(tmp_path), LocalExecutor(), said.append)
    assert f"skipped: {scans[0]}: cannot be predicted: MemoryError: cannot allocate 1.8 TiB. Check" in said[0]
    assert (tmp_path / "s2.json").exists()


def test_a_broken_scan_is_skipped_and_the_others_are_classified(trained: Experiment, tmp_path: Path) -> None:
    (tmp_path / "bad.nii.gz").write_bytes(b"no gzip")
    said: list[str] = []
    scans = [tmp_path / "bad.nii.gz", Path(trained.data.root) / "s1.nii.gz"]
    with pytest.raises(VoxrayError, match="1 of 2 scans were skipped"):
        predict(trained.out_path, scans, Options(tmp_path), LocalExecutor(), said.append)
    assert said[0].startswith("predict: bad.nii.gz: skipped: ")
    assert (tmp_path / "s1.json").exists()
