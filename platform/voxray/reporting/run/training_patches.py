"""Training patches as the network sees them: through the loader, with the rotations and augmentation of training."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from voxray.config.labels import IGNORED
from voxray.config.preprocessing import AugmentSpec
from voxray.errors import VoxrayError
from voxray.loader.loader import PatchLoader
from voxray.reporting.run.cases import Contour, draw_contours
from voxray.reporting.run.contents import RunContents
from voxray.training.fit import choose_crops, make_preprocessing
from voxray.training.inputs import BOUNDED, Inputs, Preprocessing
from voxray.visualization.overlay import LOW_HIGH, to_gray
from voxray.visualization.slices import encode_png, is_picture

TRAIN = "train"
EPOCHS = 6  # whose augmentation is displayed
MOST_CLASSES = 4
SEARCHED = 8  # patches of a segmentation, of which that with most foreground is displayed
PIXELS = 176
COLORS = 3  # channels of a picture in color


@dataclass(frozen=True)
class Version:
    """One version of a patch: its central slice, the contours of its mask, and what was done to it."""

    title: str
    uri: str
    width: int
    height: int
    contours: tuple[Contour, ...]


@dataclass(frozen=True)
class TrainingPatch:
    """All versions of one patch of a class; of a segmentation, of its foreground."""

    title: str
    versions: tuple[Version, ...]


@dataclass(frozen=True)
class TrainingPatches:
    """What a report shows of training: the patches, whether they are augmented, and why there are none."""

    patches: tuple[TrainingPatch, ...]
    is_augmented: bool
    is_rotated: bool
    problem: str = ""


def training_patches(run: RunContents) -> TrainingPatches:
    """One patch of the positive class, of each of several classes or with foreground, in all its versions."""
    augmented = run.experiment.augment != AugmentSpec()
    try:
        patches = tuple(_draw_patches(run, augmented))
    except (VoxrayError, OSError):
        # The description of a problem contains names of files.
        return TrainingPatches((), augmented, False, "the training patches of the store cannot be read")
    rotated = any(version.title.startswith("rotated") for patch in patches for version in patch.versions)
    return TrainingPatches(patches, augmented, rotated)


def _draw_patches(run: RunContents, augmented: bool) -> Iterator[TrainingPatch]:
    rows = run.store.rows(TRAIN)
    if not rows.num_rows:
        return
    crops = choose_crops(run.experiment, TRAIN, len(run.classes))
    loader = PatchLoader(run.store, TRAIN, 1, seed=run.experiment.seed, crops=crops)
    sizes, cpu = (run.store.info.size, run.experiment.input_size), torch.device("cpu")
    stored, cropped = (make_preprocessing(run.experiment, 2 if size[2] == 1 else 3, cpu) for size in sizes)
    labels, rotations = rows["label"].to_numpy(), rows["rotation"].to_numpy()
    picture = is_picture(rows["path"][0].as_py())
    for title, label in _displayed(run):
        candidates = np.flatnonzero((rotations == 0) & ((labels == label) if label is not None else True))
        if len(candidates):
            row = int(candidates[0] if label is not None else _most_foreground(loader, candidates[:SEARCHED]))
            copies = np.flatnonzero(loader.slots == loader.slots[row])
            yield TrainingPatch(title, tuple(_versions(loader, (stored, cropped), copies, picture, augmented)))


def _displayed(run: RunContents) -> list[tuple[str, int | None]]:
    """Title and label of each displayed patch."""
    if run.store.info.masks:
        return [("a patch with foreground", None)]
    if len(run.classes) == 2:
        return [(run.classes[1], 1)]
    return [(name, label) for label, name in enumerate(run.classes[:MOST_CLASSES])]


def _most_foreground(loader: PatchLoader, candidates: NDArray[np.int64]) -> int:
    voxels = []
    for row in candidates.tolist():
        masks = loader.read(row).masks
        voxels.append(0 if masks is None else int(((masks > 0) & (masks != IGNORED)).sum()))
    return int(candidates[int(np.argmax(voxels))])


def _versions(
    loader: PatchLoader,
    preprocessing: tuple[Preprocessing, Preprocessing],
    copies: NDArray[np.int64],
    picture: bool,
    augmented: bool,
) -> Iterator[Version]:
    """The stored patch, its rotated copies, and draws of the crops and the augmentation of the first epochs."""
    stored, cropped = preprocessing
    plain = [stored.inputs(loader.read(row), None) for row in copies.tolist()]
    bounded = stored.intensity.kind in BOUNDED
    low, high = (0.0, 1.0) if bounded else np.percentile(plain[0].images[0, 0].numpy(), LOW_HIGH)
    levels = (float(low), float(high))
    for row, inputs in zip(copies.tolist(), plain, strict=True):
        degrees = int(loader.rotations[row])
        yield _version(f"rotated {degrees}°" if degrees else "as stored", inputs, levels, picture)
    for epoch in range(1, EPOCHS + 1 if augmented else 1):
        row = int(copies[(epoch - 1) % len(copies)])
        # Read again: augmentation may change a batch in place.
        inputs = cropped.inputs(loader.read(row, epoch), epoch)
        yield _version(f"augmented {epoch}", inputs, levels, picture)


def _version(title: str, inputs: Inputs, levels: Sequence[float], picture: bool) -> Version:
    image, labels = inputs.images[0].float().numpy(), inputs.labels[0].numpy()
    masked = labels.ndim > 0
    image = image if picture and len(image) == COLORS else image[:1]
    if image.ndim == 4:
        z = int((labels > 0).sum((0, 1)).argmax()) if masked else image.shape[3] // 2
        image, labels = image[..., z], labels[..., z] if masked else labels
    # Scans in the radiological view, where both axes run against the index.
    pixels = to_gray((image if picture else image[:, ::-1, ::-1]).T, levels[0], levels[1])
    gray = pixels if pixels.shape[2] == COLORS else pixels[..., 0]
    contours: list[Contour] = []
    if masked:
        shown = labels[::-1, ::-1].T.astype(np.uint8)
        contours = draw_contours(shown, np.ones(2), is_truth=True)
    height, width = gray.shape[:2]
    return Version(title, encode_png(gray, PIXELS), width, height, tuple(contours))
