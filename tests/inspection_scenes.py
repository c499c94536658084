"""Small data sets for inspection: a clean one in Decathlon layout, and one with every defect that masks can have."""

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

SHAPE = (12, 11, 10)
CLASSES = {"0": "background", "1": "liver", "2": "tumor"}


def write_nifti(
    path: Path, voxels: NDArray[Any], affine: NDArray[Any] | None = None, qform: NDArray[Any] | None = None
) -> None:
    """Write (x, y, z) voxels of 1 mm, or with an affine, and perhaps with a qform."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(voxels, np.eye(4) if affine is None else affine)
    if qform is not None:
        image.header.set_qform(qform, 1)
    nibabel.save(image, path)


def image_of(seed: int, shape: tuple[int, ...] = SHAPE) -> NDArray[np.int16]:
    """Noise, other for each seed."""
    return np.random.default_rng(seed).integers(0, 1000, shape).astype(np.int16)


def mask_of(shape: tuple[int, ...] = SHAPE) -> NDArray[np.uint8]:
    """A liver with a tumor in it."""
    mask = np.zeros(shape, np.uint8)
    mask[2:9, 2:9, 2:8] = 1
    mask[4:6, 4:6, 4:6] = 2
    return mask


def write_cases(root: Path, cases: int, classes: dict[str, str] = CLASSES, more: tuple[str, ...] = ()) -> None:
    """Good cases ``good_000`` …, and a list of them and of `more` names."""
    for number in range(cases):
        write_nifti(root / "imagesTr" / f"good_{number:03d}.nii.gz", image_of(number))
        write_nifti(root / "labelsTr" / f"good_{number:03d}.nii.gz", mask_of())
    names = [*(f"good_{number:03d}" for number in range(cases)), *more]
    training = [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in names]
    content = {"labels": classes, "modality": {"0": "CT"}, "training": training}
    (root / "dataset.json").write_text(json.dumps(content))


# Kind of issue → the case that has it.
DEFECTS = {
    "leak": "good_000",
    "unreadable": "cut_off",
    "listed": "no_mask",
    "implausible": "in_meters",
    "channels": "two_channels",
    "grid": "shifted_mask",
    "mask": "broken_mask",
    "values": "seven",
    "not_finite": "with_nan",
    "constant": "flat",
    "absent": "nowhere",
    "unlisted": "forgotten",
    "empty": "no_foreground",
    "unseen": None,
    "header": "two_places",
    "shape": "long",
    "spacing": "coarse",
    "intensity": "bright",
}


def write_defects(root: Path) -> None:
    """Good cases, and one case for each of `DEFECTS`; a twin of the first good case is the leak."""
    named = [name for kind, name in DEFECTS.items() if kind not in ("leak", "unlisted", "unseen")]
    write_cases(root, 24, {**CLASSES, "3": "never"}, ("twin", *filter(None, named)))
    plain = {name: (image_of(100 + number), mask_of()) for number, name in enumerate(named)}
    affines: dict[str, NDArray[Any]] = {
        "coarse": np.diag([1.0, 1, 5, 1]),
        "in_meters": np.diag([1000.0, 1000, 1000, 1]),
    }
    plain["twin"] = (image_of(0), mask_of())
    plain["two_channels"] = (image_of(61, (*SHAPE, 2)), mask_of())
    plain["seven"][1][3, 3, 3] = 7
    with_nan = plain["with_nan"][0].astype(np.float32)
    with_nan[1, 2, 3] = np.nan
    plain["with_nan"] = (with_nan, mask_of())
    plain["flat"] = (np.full(SHAPE, 40, np.int16), mask_of())
    plain["no_foreground"] = (plain["no_foreground"][0], np.zeros(SHAPE, np.uint8))
    plain["long"] = (image_of(62, (12, 11, 40)), mask_of((12, 11, 40)))
    plain["bright"] = (plain["bright"][0] * np.int16(30), mask_of())
    for name in named:
        if name == "nowhere":
            continue
        image, mask = plain[name]
        affine = affines.get(name, np.eye(4))
        qform = affine + np.diag([0, 0, 0.5, 0]) if name == "two_places" else None
        write_nifti(root / "imagesTr" / f"{name}.nii.gz", image, affine, qform)
        if name != "no_mask":
            shift = np.eye(4)
            shift[0, 3] = 2.0 * (name == "shifted_mask")
            write_nifti(root / "labelsTr" / f"{name}.nii.gz", mask, affine @ shift)
    for folder, part in (("imagesTr", 0), ("labelsTr", 1)):
        write_nifti(root / folder / "twin.nii.gz", plain["twin"][part])
    write_nifti(root / "imagesTr" / "forgotten.nii.gz", image_of(63))
    for name in ("imagesTr/cut_off", "labelsTr/broken_mask"):
        file = root / f"{name}.nii.gz"
        file.write_bytes(file.read_bytes()[:-20])
