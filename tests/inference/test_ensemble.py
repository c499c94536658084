import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from api_runs import ApiRuns
from hypothesis import given, settings
from hypothesis import strategies as st
from untrained import untrained_unet

import voxray
from voxray.errors import ConfigError
from voxray.executors.local import LocalExecutor
from voxray.inference import sliding_window
from voxray.inference.ensemble import prepare_scan, segment_scan
from voxray.inference.load import TrainedRun, check_members
from voxray.inference.parts import Windows, choose_parts, sums_bytes
from voxray.inference.predict import segment
from voxray.inference.segmenter import Segmenter
from voxray.prediction.files import Options
from voxray.scans.geometry import canonical_volume, in_axes_of
from voxray.scans.resample import resample, resample_like
from voxray.stages.predict import predict
from voxray.volume import Volume

MEASURE = Path(__file__).parents[1] / "peak_memory.py"


def scan(*shape: int, spacing_mm: tuple[float, ...] = (1.0, 1.0, 1.0), seed: int = 0) -> Volume:
    """Smooth noise, in axes that are not canonical."""
    voxels = np.random.default_rng(seed).normal(size=(1, *shape)).astype(np.float32).cumsum(3)
    return Volume(voxels, np.diag([-spacing_mm[0], spacing_mm[1], spacing_mm[2], 1.0]))


def naive(runs: list[TrainedRun], volume: Volume) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The probabilities of the whole scan, resampled and averaged, and their labels."""
    volume = canonical_volume(volume.array, volume.affine)
    total: Any = 0
    for run in runs:
        segmenter, spacing = Segmenter(run), run.experiment.patches.spacing_mm
        grid = volume if spacing is None else resample(volume, spacing, 1)
        given = segmenter.slabs(prepare_scan([segmenter], volume).inputs[0])
        shares = Volume(torch.cat(list(given), 1).numpy(), grid.affine)
        total = total + np.asarray((shares if grid is volume else resample_like(shares, volume, order=1)).array)
    mean = total / np.float32(len(runs)) if len(runs) > 1 else total
    if Segmenter(runs[0]).network.output.activation == "softmax":
        return mean, mean.argmax(0)
    return mean, np.where(mean.max(0) >= 0.5, mean.argmax(0) + 1, 0)


RUNS = {
    "its own spacing": [untrained_unet([8, 8, 6])],
    "finer": [untrained_unet([8, 8, 6], spacing_mm=[0.8, 0.7, 0.9])],
    "coarser": [untrained_unet([8, 8, 8], spacing_mm=[1.3, 1.1, 2.5])],
    "one axis finer": [untrained_unet([8, 10, 6], spacing_mm=[1.0, 0.6, 1.4], overlap=0.3)],
    "sigmoid": [untrained_unet([8, 8, 8], activation="sigmoid", classes=4)],
    "slices": [untrained_unet([12, 10, 1])],
    "larger than the scan": [untrained_unet([32, 32, 32])],
    "several networks": [
        untrained_unet([8, 8, 6], seed=1),
        untrained_unet([10, 6, 8], spacing_mm=[1.3, 0.9, 1.6], seed=2),
        untrained_unet([8, 8, 1], seed=3),
    ],
}


@pytest.mark.parametrize("memory", [None, 2000])
@pytest.mark.parametrize("name", RUNS)
def test_labels_made_part_by_part_are_those_of_the_whole_volume_of_probabilities(name: str, memory: int | None) -> None:
    runs, volume = RUNS[name], scan(21, 17, 15, spacing_mm=(1.0, 1.0, 1.2))
    segmenters = [Segmenter(run) for run in runs]
    found = segment_scan(segmenters, prepare_scan(segmenters, volume), probabilities=True, sums_bytes=memory)
    mean, labels = naive(runs, volume)
    assert found.probabilities is not None
    np.testing.assert_array_equal(in_axes_of(found.labels, np.eye(4)).array[0], labels)
    np.testing.assert_array_equal(in_axes_of(found.probabilities, np.eye(4)).array, mean)
    np.testing.assert_allclose(found.labels.affine, volume.affine)
    assert len(np.unique(labels)) > 1


def test_activating_a_few_planes_at_a_time_does_not_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    volume, run = scan(16, 16, 12), untrained_unet([8, 8, 6], classes=5)
    whole = torch.cat(list(Segmenter(run).slabs(prepare_scan([Segmenter(run)], volume).inputs[0])), 1)
    monkeypatch.setattr(sliding_window, "ACTIVATED_BYTES", 1)
    parts = torch.cat(list(Segmenter(run).slabs(prepare_scan([Segmenter(run)], volume).inputs[0])), 1)
    assert torch.equal(whole, parts)


def identity(_: int, span: tuple[int, int]) -> tuple[int, int]:
    return span


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(*[st.integers(1, 60)] * 3),
    st.lists(st.tuples(st.integers(1, 20), st.tuples(*[st.integers(1, 24)] * 3), st.floats(0, 0.8)), min_size=1),
    st.integers(1, 20),
)
def test_tiles_cover_a_scan_once_and_their_sums_fit_where_that_can_be(
    shape: tuple[int, int, int], networks: list[tuple[int, tuple[int, int, int], float]], part: int
) -> None:
    windows = [Windows(channels, shape, size, overlap, identity) for channels, size, overlap in networks[:3]]
    whole = [((0, shape[1]), (0, shape[2]))]
    most = max(1, sums_bytes(whole, windows) // part)
    parts = choose_parts(shape, windows, most)
    covered = np.zeros(shape[1:], int)
    for (y, end_y), (z, end_z) in parts:
        covered[y:end_y, z:end_z] += 1
    assert (covered == 1).all()
    voxel = sums_bytes([((0, 1), (0, 1))], windows)
    assert sums_bytes(parts, windows) <= max(most, voxel)


def test_the_peak_of_memory_grows_with_a_slab_and_neither_with_the_volume_nor_with_its_classes() -> None:
    """Of 64 classes a scan of 28 MB of probabilities, one of four times the length, and one of 240 classes."""
    # Freed memory goes back to the system, so that the peak is what was in use together.
    allocator = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    environment = {**os.environ, **allocator, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(MEASURE)]
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    peaks = json.loads(output)
    for name, (classes, voxels) in peaks["cases"].items():
        window = 4 * classes * 16**3
        # The sums, what a batch of two windows gives and its activation, and a byte for each label.
        expected = peaks["sums_bytes"] + 5 * window + voxels
        assert peaks["extra_bytes"][name] < expected + 2**22
        assert peaks["extra_bytes"][name] < 4 * classes * voxels * (0.6 if name == "short" else 0.25)


def flipped(volume: Volume, axes: tuple[int, ...]) -> Volume:
    return Volume(np.flip(volume.array, [1 + axis for axis in axes]), volume.affine)


@pytest.mark.parametrize("patch", [[8, 8, 8], [8, 8, 1]])
def test_mirrors_are_those_that_training_flipped_and_their_probabilities_are_averaged(patch: list[int]) -> None:
    augment = {"flip": ["x", "z"]}
    runs = [untrained_unet(patch, augment=augment), untrained_unet(patch, seed=1)]  # the second one flipped nothing
    # Windows lie in it as they do in its mirrors.
    volume = Volume(scan(16, 12, 16).array, np.eye(4))
    axes = [(), (0,), (2,), (0, 2)] if patch[2] > 1 else [(), (0,)]
    parts = []
    for each in axes:
        shares = segment(runs[:1], flipped(volume, each), "a", probabilities=True).probabilities
        assert shares is not None
        parts.append(flipped(shares, each).array)
    first = np.mean(parts, axis=0)
    second = segment(runs[1:], volume, "a", probabilities=True).probabilities
    found = segment(runs, volume, "a", probabilities=True, tta=True).probabilities
    assert found is not None
    assert second is not None
    np.testing.assert_allclose(found.array, (first + second.array) / 2, atol=1e-5)
    assert np.abs(first - parts[0]).max() > 0.01


def test_networks_of_other_classes_are_not_averaged(api_runs: ApiRuns) -> None:
    with pytest.raises(ConfigError) as error:
        check_members([api_runs.classifier, api_runs.segmentation, api_runs.classifier])
    for words in ("run: task 'segmentation' instead of 'classification'", "run: classes (", "run is given twice"):
        assert words in str(error.value)
    with pytest.raises(ConfigError, match="candidates True instead of False"):
        check_members([api_runs.classifier, api_runs.candidates])


def test_a_mirrored_scan_is_classified_as_the_mean_of_its_mirrors_by_all_runs(
    api_runs: ApiRuns, tmp_path: Path
) -> None:
    copies = [Path(shutil.copytree(api_runs.classifier, tmp_path / name)) for name in ("a", "b")]
    for copy, flip in zip(copies, (["y"], []), strict=True):
        content = json.loads((copy / "experiment.json").read_text())
        content["augment"]["flip"] = flip
        (copy / "experiment.json").write_text(json.dumps(content))
        (copy / "stages.json").unlink()
    chest = Path(api_runs.names["chest"])
    run, other = (voxray.load_run(copy, device="cpu") for copy in copies)
    volume = voxray.read_scan(chest)
    plain, mirrored = run.predict(volume), run.predict(flipped(volume, (1,)))
    expected = ((plain.probabilities + mirrored.probabilities) / 2 + plain.probabilities) / 2
    found = run.predict(volume, others=[other], tta=True)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
    with pytest.warns(UserWarning, match="no network was trained with augment.flip"):
        other.predict(volume, tta=True)
    said: list[str] = []
    options = Options(tmp_path / "out", others=(copies[1],), tta=True)
    predict(copies[0], [chest], options, LocalExecutor(), said.append)
    written = json.loads((tmp_path / "out" / "s1.json").read_text())
    np.testing.assert_allclose(list(written["probabilities"].values()), expected, atol=1e-6)
    assert written["members"] == [str(copy) for copy in copies]
    assert said[:2] == [
        f"note: predictions are the mean of 2 networks: {copies[0]}, {copies[1]}",
        "note: predictions are the mean over scans mirrored along y",
    ]
