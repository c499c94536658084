"""A trained classifier and whole scans: the classes with their probabilities, and where the evidence lies."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from voxray.config.experiment import Experiment
from voxray.config.load import read_experiment
from voxray.errors import ConfigError, ScanError
from voxray.inference.grad_cam import grad_cam
from voxray.loader.loader import Batch
from voxray.models.build import build_model
from voxray.models.spec.load import parse_architecture
from voxray.models.spec.unet import UNet
from voxray.patches.plan import store_provenance
from voxray.runs.folder import RunFolder
from voxray.storage.paths import AnyPath
from voxray.store.cut import Cut, cut_scan
from voxray.store.layout import StoreInfo
from voxray.training.checkpoint import load_model, read_metadata
from voxray.training.fit import make_preprocessing
from voxray.training.step import Preprocessing


@dataclass(frozen=True, eq=False)
class Classifier:
    """A model that is ready to judge scans.

    Attributes
    ----------
    experiment : Experiment
        Of the run that trained it.
    model : nn.Module
    recipe : Recipe
        What turns patches into its input.
    info : StoreInfo
        How patches are cut from a scan; those of its training were cut so.
    classes : tuple of str
    threshold : float, optional
        Operating point of the finding, class 1 of two.
    """

    experiment: Experiment
    model: nn.Module
    preprocessing: Preprocessing
    info: StoreInfo
    classes: tuple[str, ...]
    threshold: float | None


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a classifier says of a scan.

    Attributes
    ----------
    probabilities : ndarray, (classes,)
        Mean over the patches.
    label : int
        The class that is called.
    images : ndarray of float32, (n, x, y, z)
        First channel of the patches, as the network is given them.
    evidence : ndarray of float32, (n, x, y, z)
        What speaks for `shown`, by Grad-CAM; not scaled.
    shown : int
        The finding, or the class that is called where there are more than two.
    """

    probabilities: NDArray[np.float64]
    label: int
    images: NDArray[np.float32]
    evidence: NDArray[np.float32]
    shown: int


def load_classifier(run: AnyPath, device: torch.device) -> Classifier:
    """Load the model of a run's folder.

    Raises
    ------
    ConfigError
        The run judges the places of a list, not scans.
    """
    folder = RunFolder(run)
    metadata, experiment = read_metadata(folder.model), read_experiment(folder.experiment)
    if experiment.data.layout == "luna16":
        problem = "this run judges the candidates of a list, so a scan as a whole has no answer"
        raise ConfigError(str(run), problem, "Take voxray evaluate with a list of candidates")
    layers = parse_architecture(metadata["architecture"], str(folder.model))
    classes, shape = tuple(metadata["classes"]), tuple(metadata["input_shape"])
    model = build_model(layers, shape, len(classes), 0)
    load_model(folder.model, model)
    preprocessing = make_preprocessing(experiment, len(shape) - 1, device)
    info = _cutting(experiment, classes, shape[0])
    return Classifier(experiment, model.to(device).eval(), preprocessing, info, classes, metadata.get("threshold"))


def is_classifier(run: AnyPath) -> bool:
    """Whether a run trained a classifier."""
    folder = RunFolder(run)
    return not isinstance(parse_architecture(read_metadata(folder.model)["architecture"], str(folder.model)), UNet)


def classify_scan(classifier: Classifier, path: AnyPath, mask: AnyPath | None = None) -> Prediction:
    """Judge one scan by the mean of its patches' probabilities.

    Parameters
    ----------
    classifier : Classifier
    path : Place
        Any scan that `voxray.scans.read.open_scan` reads, with the channels of the training's scans.
    mask : Place, optional
        Says which slices are looked at, where those of the training were chosen so.

    Raises
    ------
    ScanError
        The scan cannot be used, or a mask is missing.
    """
    cuts = _cuts(classifier, path, mask)
    inputs = classifier.preprocessing.inputs(_batch(cuts), None).images
    with torch.no_grad(), classifier.preprocessing.autocast():
        logits = classifier.model(inputs)
    probabilities = logits.double().softmax(1).mean(0).cpu().numpy()
    label = _called(probabilities, classifier.threshold)
    shown = 1 if len(classifier.classes) == 2 else label
    # One patch at a time: gradients of many would not fit beside each other.
    evidence = torch.cat([grad_cam(classifier.model, each[None], shown) for each in inputs])
    flat = inputs.ndim == 4
    images, maps = (each[..., None] if flat else each for each in (inputs[:, 0].float(), evidence.float()))
    return Prediction(probabilities, label, images.cpu().numpy(), maps.cpu().numpy(), shown)


def _called(probabilities: NDArray[np.float64], threshold: float | None) -> int:
    if threshold is None or len(probabilities) != 2:
        return int(probabilities.argmax())
    return int(probabilities[1] >= threshold)


def _cuts(classifier: Classifier, path: AnyPath, mask: AnyPath | None) -> list[Cut]:
    """The patches of a scan, cut as those of the training."""
    spec = classifier.experiment.patches
    if spec.needs_masks and mask is None:
        raise ScanError(str(path), "this run takes the slices that a mask touches, got no mask", "Give --mask FILE")
    row: dict[str, Any] = {
        "split": "", "slot": 0, "shard": 0, "label": 0, "row": 0, "patient_id": "",
        "scan_id": path.name, "path": str(path), "label_path": None if mask is None else str(mask),
        "x_mm": None, "y_mm": None, "z_mm": None,
    }  # fmt: skip
    rows = [{**row, "number": number} for number in range(spec.patches_per_scan)]
    cuts, aside = cut_scan(Path(), rows, classifier.info, spec.pad_value)
    if aside:
        raise ScanError("", aside[0]["reason"])
    return cuts


def _batch(cuts: list[Cut]) -> Batch:
    count = len(cuts)
    images = torch.from_numpy(np.stack([cut.image for cut in cuts]))
    known = cuts[0].row["statistics"] is not None
    statistics = torch.tensor([cut.row["statistics"] for cut in cuts], dtype=torch.float64) if known else None
    none = torch.zeros(count, dtype=torch.int64)
    inside = torch.zeros((count, 2, 3), dtype=torch.int64)
    rows = np.arange(count)
    return Batch(images, none, none, None, inside, statistics, rows, rows, 0, count)


def _cutting(experiment: Experiment, classes: tuple[str, ...], channels: int) -> StoreInfo:
    """How the store of the training cut its patches."""
    return StoreInfo(
        classes=classes,
        masks=False,
        size=experiment.patches.size,
        channels=channels,
        dtype=experiment.store.dtype,
        patches_per_chunk=1,
        patches_per_shard=1,
        shards={},
        scans=1,
        digest="",
        provenance=store_provenance(experiment, ""),
        notes=(),
    )
