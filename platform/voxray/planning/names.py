"""What the words in a file's path say: image or mask, the case, the channel, the split."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from voxray.scans.formats.registry import split_suffix

MASK_WORDS = {"mask", "masks", "label", "labels", "lbl", "seg", "segs", "segm", "segmentation", "segmentations", "dseg"}
MASK_WORDS |= {"gt", "groundtruth", "truth", "annotation", "annotations", "annot", "roi"}
IMAGE_WORDS = {"image", "images", "img", "imgs", "imaging", "volume", "volumes", "vol", "scan", "scans", "raw", "orig"}
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "tr"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "ts"), "test"),
}
# Of nnU-Net and the Decathlon: imagesTr, labelsTs.
JOINED = {f"{what}{end}": SPLIT_WORDS[end] for what in ("images", "labels") for end in ("tr", "val", "ts")}
MASK_WORDS |= {word for word in JOINED if word.startswith("labels")}
IMAGE_WORDS |= {word for word in JOINED if word.startswith("images")}
BIDS_FOLDERS = frozenset(("anat", "dwi", "func", "perf", "rawdata"))
BIDS_ENTITIES = ("label-", "desc-", "space-", "res-", "den-", "hemi-", "atlas-", "seg-")  # of derivatives
BETWEEN = "_-. "


@dataclass(frozen=True)
class Named:
    """A path, taken apart.

    Attributes
    ----------
    path : str
    folders : tuple of str
        The folders that say which case it is, without those that say what it is; in lower case.
    stem : str
        Of the file's name: the same without words for image and mask; in lower case.
    is_mask : bool
        Whether a word says so.
    split : str, optional
    derived : bool
        Whether it lies in a folder ``derivatives``.
    """

    path: str
    folders: tuple[str, ...]
    stem: str
    is_mask: bool
    split: str | None
    derived: bool


def take_apart(path: str) -> Named:
    """The words of a path.

    Examples
    --------
    >>> named = take_apart("train/labels/Case_07-label.nii.gz")
    >>> named.stem, named.is_mask, named.split
    ('case_07', True, 'train')
    >>> take_apart("derivatives/manual/sub-1/anat/sub-1_label-lesion_mask.nii.gz").stem
    'sub-1'
    """
    pure = PurePosixPath(path)
    folders, is_mask, is_image, split, derived = _read_folders(pure.parts[:-1])
    stem = split_suffix(pure.name)[0].lower()
    if stem.startswith("sub-"):
        stem = "_".join(part for part in stem.split("_") if not part.startswith(BIDS_ENTITIES))
    stem, words = _without_words(stem)
    # masks/img_1.png is a mask, and images/a_mask.png too.
    return Named(path, folders, stem, bool(words & MASK_WORDS) or (is_mask and not is_image), split, derived)


def _read_folders(parts: Sequence[str]) -> tuple[tuple[str, ...], bool, bool, str | None, bool]:
    """Folders of the case; whether a word says mask, or image; the split; whether it is a derivative."""
    kept: list[str] = []
    is_mask, is_image, split = False, False, None
    known = {**SPLIT_WORDS, **JOINED}
    lower = [part.lower() for part in parts]
    derived = "derivatives" in lower
    if derived:
        start = lower.index("derivatives")
        lower = lower[:start] + lower[start + 2 :]  # and the name of the pipeline
    for part in lower:
        words = [word for word in re.split(r"[_\-. ]+", part) if word]
        is_mask |= any(word in MASK_WORDS for word in words)
        is_image |= any(word in IMAGE_WORDS for word in words)
        split = next((known[word] for word in words if word in known), split)
        rest = [word for word in words if word not in MASK_WORDS | IMAGE_WORDS and word not in SPLIT_WORDS]
        if rest and part not in BIDS_FOLDERS:
            kept.append(part if len(rest) == len(words) else "_".join(rest))
    return tuple(kept), is_mask, is_image, split, derived


def _without_words(stem: str) -> tuple[str, set[str]]:
    """A stem without the words at its start and end that say image or mask, and these words."""
    known, words = MASK_WORDS | IMAGE_WORDS, set[str]()
    end = re.search(rf"(?:^|[{re.escape(BETWEEN)}])([a-z]+)$", stem)
    if end and end[1] in known:
        words.add(end[1])
        stem = stem[: end.start()]
    start = re.match(rf"([a-z]+)(?:[{re.escape(BETWEEN)}]+|(?=\d)|$)", stem)
    if start and start[1] in known:
        words.add(start[1])
        stem = stem[start.end() :]
    return stem.strip(BETWEEN), words


def prefixes(stem: str) -> list[str]:
    """A stem and its beginnings up to a separator, the longest first; the last one is empty.

    Examples
    --------
    >>> prefixes("case_1-t1")
    ['case_1-t1', 'case_1', 'case', '']
    """
    ends = [index for index, letter in enumerate(stem) if letter in BETWEEN]
    return list(dict.fromkeys([stem, *(stem[:end] for end in reversed(ends)), ""]))
