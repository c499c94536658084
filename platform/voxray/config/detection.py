"""Settings of detection: where a scan's candidates come from, and which of them are reported."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveFloat

from voxray.config.validation import Spec


class DetectionSpec(Spec):
    """How a classifier of candidates finds those of a scan that no list names."""

    also_called: ClassVar = {"detector": "proposals", "candidates": "proposals", "limit": "max_proposals"}

    proposals: Literal["log", "list"] = "log"
    """`log`: blobs of 4 to 24 mm inside the lungs of a chest CT, by Laplacian of Gaussians, without training.
    `list`: the candidates of the data set's list."""
    max_proposals: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """`log`: proposals of a scan, the most prominent first."""
    false_positives_per_scan: PositiveFloat = 1.0
    """Most false positives a scan, on validation, at the operating point of findings."""
