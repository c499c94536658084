"""The kinds of findings: a closed set, in the order in which they are shown."""

from dataclasses import dataclass

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True)
class Kind:
    """One kind of finding.

    Attributes
    ----------
    severity : str
        `ERROR` where work would fail, lose scans or give a wrong result; `WARNING` where a person should look.
    title : str
    meaning : str
        What it leads to, or what to do about it.
    needs_voxels : bool
        Whether headers and lists alone cannot tell.
    """

    severity: str
    title: str
    meaning: str
    needs_voxels: bool = False


KINDS: dict[str, Kind] = {
    "plan": Kind(ERROR, "The experiment cannot run", "Its plan fails before a scan is read."),
    "patient": Kind(ERROR, "One patient in two splits", "Whatever is measured on the later split is worthless."),
    "contradiction": Kind(
        ERROR, "Same voxels, different class", "One of the labels is wrong; the network is told both.", True
    ),
    "leak": Kind(
        ERROR,
        "Same voxels in two splits or patients",
        "What is trained on is measured on, or may be once patients are dealt to splits.",
        True,
    ),
    "unreadable": Kind(ERROR, "Scans that cannot be read", "Ingest sets them aside."),
    "listed": Kind(ERROR, "Entries of the list that cannot be used", "Ingest sets them aside."),
    "channels": Kind(ERROR, "Other channels than the rest", "Ingest sets them aside: a network has fixed channels."),
    "grid": Kind(ERROR, "Image and mask differ in geometry", "Ingest sets them aside."),
    "mask": Kind(ERROR, "Masks that cannot be used", "Ingest sets their scans aside."),
    "values": Kind(ERROR, "Mask values that have no name", "Ingest sets their scans aside.", True),
    "not_finite": Kind(ERROR, "Voxels that are no numbers", "One of them makes a whole batch worthless.", True),
    "constant": Kind(ERROR, "One value everywhere", "Nothing can be learned from it.", True),
    "outside": Kind(ERROR, "Samples outside their scan", "Ingest sets them aside; often an axis has the wrong sign."),
    "twin": Kind(WARNING, "Same voxels under two names", "They count twice; a result is not falsified.", True),
    "absent": Kind(WARNING, "Listed, but not on disk", "Their samples are left out."),
    "unlisted": Kind(WARNING, "On disk, but not listed", "They are not used."),
    "empty": Kind(WARNING, "Masks without foreground", "They are negatives only if that is what they should be.", True),
    "unseen": Kind(WARNING, "Classes that occur nowhere", "They cannot be learned.", True),
    "shape": Kind(WARNING, "Extent far from the rest", "Perhaps another body part, a localiser or a cut series."),
    "spacing": Kind(WARNING, "Spacing far from the rest", "Perhaps a unit or a header is wrong, or resampling is due."),
    "intensity": Kind(
        WARNING, "Intensity far from the rest", "Perhaps a rescale slope or intercept was lost, or another unit.", True
    ),
    "mixed": Kind(WARNING, "A mixed data set", "Too many scans are far from the middle to call them outliers."),
}
