import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scenes import experiment

from voxray.executors.local import LocalExecutor
from voxray.executors.ray.executor import RayExecutor
from voxray.phantom.decathlon import write_decathlon
from voxray.prediction.files import Options
from voxray.runs.folder import run_folder
from voxray.stages.evaluate import evaluate
from voxray.stages.ingest import ingest
from voxray.stages.predict import predict
from voxray.stages.train import train

pytestmark = pytest.mark.usefixtures("ray_here")

NET = {
    "type": "unet",
    "dimensions": 3,
    "down": [[4], [8]],
    "up": [[4]],
    "output": {"activation": "sigmoid"},
}


def quiet(line: str) -> None:
    """Swallow what a stage says."""


def test_whole_scans_are_evaluated_and_predicted_alike_with_and_without_ray(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "brains"
    write_decathlon(root, cases=5, seed=2, shape=(32, 30, 24))
    (tmp_path / "architecture.json").write_text(json.dumps(NET))
    spec = experiment(
        root,
        tmp_path / "run",
        data={"layout": "decathlon"},
        patches={
            "size": [16, 16, 16],
            "sampling": "foreground",
            "patches_per_scan": 2,
            "oversample_rotations": [],
            "pad_value": 0,
        },
        store={"dtype": "float32"},
        intensity={"kind": "zscore_slice"},
        training={"loss": "dice", "monitor": "dice", "batch_size": 2, "learning_rate": 0.01, "epochs": 1},
    )
    ingest(spec, RayExecutor(), quiet)
    train(spec, LocalExecutor(), quiet)
    metrics = []
    for executor in (LocalExecutor(), RayExecutor()):
        (spec.out_path / "metrics.json").unlink(missing_ok=True)
        run_folder(spec).begin("evaluate")
        evaluate(spec, executor, quiet)
        metrics.append(json.loads((spec.out_path / "metrics.json").read_text()))
    for split in ("val", "test"):
        for name, value in metrics[0][split].items():
            if isinstance(value, float):
                assert value == pytest.approx(metrics[1][split][name], rel=1e-3, abs=1e-3)
    scans = sorted((root / "imagesTr").glob("*.nii.gz"))[:2]
    predict(spec.out_path, scans, Options(tmp_path / "plain"), LocalExecutor(), quiet)
    predict(spec.out_path, scans, Options(tmp_path / "spread"), RayExecutor(), quiet)
    assert "in the object store" not in capfd.readouterr().err  # a warning of Ray about arguments of an actor
    for path in (tmp_path / "plain").glob("*.nii.gz"):
        one, other = (
            np.asarray(nibabel.load(folder / path.name).dataobj) for folder in (tmp_path / "plain", tmp_path / "spread")
        )
        assert (one != other).mean() < 1e-3
