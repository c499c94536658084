"""Training patches as the network sees them."""

import base64
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from reporting.scan_runs import make_scan_run

from voxray.reporting.run.contents import RunContents
from voxray.reporting.run.training_patches import EPOCHS, Version, training_patches

MakeRun = Callable[..., RunContents]


def gray(version: Version) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(version.uri.split(",")[1]))), float)


def with_augment(run: RunContents, **augment: Any) -> RunContents:
    content = run.experiment.model_dump(mode="json")
    return replace(run, experiment=type(run.experiment).model_validate({**content, "augment": augment}))


def test_a_positive_is_displayed_as_stored_and_rotated(make_run: MakeRun) -> None:
    run = make_run()
    displayed = training_patches(run)
    (patch,) = displayed.patches
    assert patch.title == "nodule"
    assert (displayed.is_rotated, displayed.is_augmented, displayed.problem) == (True, False, "")
    assert [version.title for version in patch.versions] == ["as stored", *(f"rotated {n}°" for n in (90, 180, 270))]
    stored, *rotated = map(gray, patch.versions)
    row = next(row for row in run.store.rows("train").to_pylist() if row["label"] == 1)
    voxels = run.store.read_patches("train", np.array([row["slot"]]))[0, 0, :, :, 2].astype(float)
    assert np.abs(stored - (255 * (voxels + 1000) / 1400)[::-1, ::-1].T).max() <= 1
    for number, picture in enumerate(rotated, 1):
        turned = np.rot90(voxels, number, (0, 1))
        assert np.abs(picture - (255 * (turned + 1000) / 1400)[::-1, ::-1].T).max() <= 1


def test_augmented_versions_are_those_of_the_settings(make_run: MakeRun) -> None:
    (patch,) = training_patches(with_augment(make_run(), flip=["x"])).patches
    stored = [gray(version) for version in patch.versions if not version.title.startswith("augmented")]
    augmented = [gray(version) for version in patch.versions if version.title.startswith("augmented")]
    assert len(augmented) == EPOCHS
    flipped = 0
    for number, picture in enumerate(augmented):
        plain = stored[number % len(stored)]
        assert (picture == plain).all() or (picture == plain[:, ::-1]).all()
        flipped += bool((picture != plain).any())
    assert 0 < flipped < EPOCHS


def test_brightness_is_visible_because_gray_levels_are_those_of_the_stored_patch(make_run: MakeRun) -> None:
    (patch,) = training_patches(with_augment(make_run(), brightness=0.4)).patches
    means = [gray(version).mean() for version in patch.versions[-EPOCHS:]]
    assert np.ptp(means) > 30


def test_each_of_several_classes_has_a_patch(make_run: MakeRun) -> None:
    displayed = training_patches(make_run(classes=("none", "cyst", "nodule")))
    assert [patch.title for patch in displayed.patches] == ["none", "cyst", "nodule"]
    assert len(displayed.patches[0].versions) == 1


def test_a_single_slice_is_displayed_as_such(make_run: MakeRun) -> None:
    layers = [{"type": "C", "activation": "relu", "num_output": 4, "kernel_size": [3, 3], "stride": [1, 1]}]
    from voxray.models.spec.load import parse_architecture

    run = make_run(size=(8, 8, 1), suffix=".png")
    flat = replace(run, layers=parse_architecture([*layers, {"type": "T", "activation": None}], "architecture.json"))
    (patch,) = training_patches(flat).patches
    assert gray(patch.versions[0]).shape == (8, 8)


def test_a_store_that_cannot_be_read_is_a_note_without_names(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    for shard in (run.store.path / "train" / "image" / "c").rglob("*"):
        if shard.is_file():
            shard.write_bytes(b"damaged")
    displayed = training_patches(run)
    assert displayed.patches == ()
    assert displayed.problem == "the training patches of the store cannot be read"
    assert training_patches(make_scan_run(tmp_path, {"train": (0,), "val": (0,)})).problem


@pytest.mark.parametrize("epoch", [1, 2])
def test_drawing_leaves_the_stored_patch_as_it_is(make_run: MakeRun, epoch: int) -> None:
    run = with_augment(make_run(), flip=["x", "y"], rotate90=True)
    assert training_patches(run) == training_patches(run)
