"""Settings of detection: the candidates of a scan that no list names."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from voxray.config.validation import Spec


class DetectionSpec(Spec):
    """How a classifier of candidates finds those of a whole scan.

    Whole scans are searched by `voxray predict`, and by `voxray evaluate` where nodules are annotated.
    """

    also_called: ClassVar = {
        "limit": "max_proposals",
        "candidates": "proposals",
        "detector": "proposals",
        "fp_per_scan": "false_positives_per_scan",
    }

    proposals: Literal["log", "list"] = "log"
    """What proposes candidates: `log` finds blobs of 4 to 24 mm in the lungs of a chest CT by the Laplacian of
    Gaussians, without training; `list` takes those of a list only, so that no scan is searched."""
    false_positives_per_scan: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 4.0
    """The operating point of whole scans: at most so many false positives a scan on validation."""
    max_proposals: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Candidates of a scan, the most prominent first."""
