"""The kinds of issues: a closed set, in the order in which they are displayed."""

from dataclasses import dataclass

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True)
class Kind:
    """One kind of issue, its consequence or what to do about it, and whether headers are not enough to detect it.

    The severity is `ERROR` where work would fail, lose scans or give a wrong result; `WARNING` where a person should
    look.
    """

    severity: str
    title: str
    meaning: str
    needs_voxels: bool = False


QUARANTINED, SCAN_QUARANTINED = "Ingest quarantines them.", "Ingest quarantines their scans."

KINDS: dict[str, Kind] = {
    "plan": Kind(ERROR, "Experiment cannot run", "Planning fails before any scan is read."),
    "patient": Kind(ERROR, "Patient in two splits", "Metrics of the later split are invalid: data leak into it."),
    "contradiction": Kind(ERROR, "Same voxels, different class", "At least one of the labels is wrong.", True),
    "leak": Kind(
        ERROR,
        "Same voxels in two splits or patients",
        "Training data leak into evaluation, or may do so once patients are assigned to splits.",
        True,
    ),
    "unreadable": Kind(ERROR, "Unreadable scans", QUARANTINED),
    "listed": Kind(ERROR, "Unusable entries of the list", QUARANTINED),
    "implausible": Kind(ERROR, "Implausible spacing", f"{QUARANTINED} Often the unit in the header is wrong."),
    "channels": Kind(ERROR, "Unexpected number of channels", f"{QUARANTINED} Networks have fixed channels."),
    "grid": Kind(ERROR, "Image and mask differ in geometry", QUARANTINED),
    "mask": Kind(ERROR, "Unusable masks", SCAN_QUARANTINED),
    "values": Kind(ERROR, "Undefined mask values", SCAN_QUARANTINED, True),
    "not_finite": Kind(ERROR, "Non-finite voxels", "A single NaN or infinite voxel invalidates a whole batch.", True),
    "constant": Kind(ERROR, "Constant intensity", "The network cannot learn from it.", True),
    "outside": Kind(ERROR, "Samples outside their scan", f"{QUARANTINED} Often an axis has the wrong sign."),
    "twin": Kind(WARNING, "Same voxels under two names", "They count twice; metrics remain valid.", True),
    "near": Kind(
        WARNING,
        "Almost the same scan in two splits or patients",
        "Shifted, re-encoded or resized copies: look at them. Training data may leak into evaluation.",
        True,
    ),
    "absent": Kind(WARNING, "Listed, but not on disk", "Their samples are excluded."),
    "unlisted": Kind(WARNING, "On disk, but not listed", "They are not used."),
    "empty": Kind(WARNING, "Masks without foreground", "Correct only if these scans are true negatives.", True),
    "classes": Kind(WARNING, "Doubtful classes", "Often a typing mistake in the labels."),
    "unseen": Kind(WARNING, "Classes without voxels", "The network cannot learn them.", True),
    "header": Kind(WARNING, "Doubtful headers", "Other programs may show the scan elsewhere, or mirrored."),
    "shape": Kind(WARNING, "Shape outliers", "Possibly another body part, a localizer or a truncated series."),
    "spacing": Kind(WARNING, "Spacing outliers", "Possibly a wrong unit or header, or resampling is needed."),
    "intensity": Kind(
        WARNING, "Intensity outliers", "Possibly a lost rescale slope or intercept, or another unit.", True
    ),
    "mixed": Kind(WARNING, "Heterogeneous data set", "Too many scans are far from the median to be outliers."),
}
