"""What tasks count while they train."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import SMALL_UNET
from sklearn import metrics as sk
from torch.utils._python_dispatch import TorchDispatchMode

from voxray.config.data import DataSpec
from voxray.config.labels import MaskLabels, mask_labels
from voxray.errors import ConfigError
from voxray.models.spec.load import parse_architecture
from voxray.training.inputs import Inputs
from voxray.training.tasks import Classification, Segmentation, check_regions

CLASSES = ("background", "a", "b")
CLASSIFIER = Classification("cross_entropy", None, 0.9, 0.74)


def segmenter(activation: str) -> Segmentation:
    return Segmentation("dice", activation, MaskLabels(CLASSES))  # type: ignore[arg-type]


@given(st.integers(0, 10**6), st.integers(1, 20), st.integers(0, 20))
def test_training_accuracy_is_that_of_scikit_learn_whatever_the_batches(seed: int, count: int, cut: int) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = torch.from_numpy(rng.normal(size=(count, 3))), torch.from_numpy(rng.integers(0, 3, count))
    parts = [
        CLASSIFIER.count(logits[part], Inputs(logits[part], labels[part], None, len(labels[part])))
        for part in (slice(None, cut), slice(cut, None))
    ]
    metrics = CLASSIFIER.train_metrics(sum(parts).tolist())
    assert metrics == {"train_accuracy": pytest.approx(sk.accuracy_score(labels, logits.argmax(1)))}


def test_a_rank_without_patches_counts_nothing() -> None:
    placeholder = Inputs(torch.zeros(1, 1, 2, 2), torch.zeros(1, dtype=torch.int64), None, 0)
    assert CLASSIFIER.count(torch.tensor([[1.0, 0.0]]), placeholder).tolist() == [0, 0]
    assert math.isnan(CLASSIFIER.train_metrics([0, 0])["train_accuracy"])
    maps = Inputs(torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2).long(), torch.zeros(1, 1, 2, 2).bool(), 0)
    assert not segmenter("softmax").count(torch.zeros(1, 3, 2, 2), maps).any()


@settings(deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["softmax", "sigmoid"]), st.booleans(), st.booleans())
def test_training_dice_is_that_of_scikit_learn_inside_the_scans(
    seed: int, activation: str, padded: bool, supervised: bool
) -> None:
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(size=(2, 3 if activation == "softmax" else 2, 3, 4, 2)))
    labels = torch.from_numpy(rng.integers(0, 3, (2, 3, 4, 2)))
    inside = torch.from_numpy(rng.random((2, 1, 3, 4, 2)) < 0.7) if padded else None
    task = segmenter(activation)
    output = [logits, logits[..., ::2]] if supervised else logits
    metrics = task.train_metrics(task.count(output, Inputs(logits, labels, inside, 2)).tolist())
    if activation == "softmax":
        predicted = logits.argmax(1)
    else:
        predicted = torch.where(logits.max(1).values >= 0, logits.argmax(1) + 1, 0)
    mask = torch.ones_like(labels).bool() if inside is None else inside[:, 0]
    expected = sk.f1_score(labels[mask], predicted[mask], labels=[1, 2], average=None, zero_division=np.nan)
    found = [metrics[f"train_dice/{name}"] for name in CLASSES[1:]]
    assert found == pytest.approx(expected, nan_ok=True)
    assert metrics["train_dice"] == pytest.approx(np.nanmean(expected))


class _Calls(TorchDispatchMode):
    """Records each operation."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("task", [CLASSIFIER, segmenter("softmax"), segmenter("sigmoid")])
def test_counting_never_makes_the_processor_wait_for_the_device(task: Classification | Segmentation) -> None:
    # The device stands in for an accelerator: it has no values, so that none can be read.
    shape = (4,) if task is CLASSIFIER else (4, 8, 8)
    labels = torch.zeros(shape, dtype=torch.int64, device="meta")
    valid = None if task is CLASSIFIER else torch.ones((4, 1, 8, 8), dtype=torch.bool, device="meta")
    output = torch.zeros((4, 2 if task == segmenter("sigmoid") else 3, *shape[1:]), device="meta")
    with _Calls() as calls:
        counts = task.count(output, Inputs(output, labels, valid, 4))
    assert counts.device.type == "meta"
    waits = ("_local_scalar_dense", "nonzero", "bincount", "aten.index.Tensor")
    assert not [name for name in calls.names if any(wait in name for wait in waits)]


@pytest.mark.parametrize("seed", range(3))
def test_regions_are_compared_as_label_maps_would_hold_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = mask_labels(("background",), {"regions": {"whole": [1, 2], "core": [2]}})
    task = Segmentation("dice_cross_entropy", "sigmoid", labels)
    logits, numbers = (
        torch.from_numpy(rng.normal(size=(2, 2, 3, 4, 2))),
        torch.from_numpy(rng.integers(0, 3, (2, 3, 4, 2))),
    )
    inside = torch.from_numpy(rng.random((2, 1, 3, 4, 2)) < 0.7)
    metrics = task.train_metrics(task.count(logits, Inputs(logits, numbers, inside, 2)).tolist())
    written = np.where(logits[:, 1] >= 0, 2, np.where(logits[:, 0] >= 0, 1, 0))[inside[:, 0]]
    true = numbers[inside[:, 0]].numpy()
    assert metrics["train_dice/whole"] == pytest.approx(sk.f1_score(true >= 1, written >= 1))
    assert metrics["train_dice/core"] == pytest.approx(sk.f1_score(true == 2, written == 2))


def test_classes_that_overlap_need_a_network_that_does_not_choose_one_of_them() -> None:
    data = DataSpec(layout="table", root=".", regions={"whole": (1, 2), "core": (2,)})
    with pytest.raises(ConfigError, match=r"data\.regions need the output activation 'sigmoid', got 'softmax'"):
        check_regions(data, parse_architecture(SMALL_UNET, "a U-Net"))
