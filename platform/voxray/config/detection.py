"""Settings of detection: the candidates of a scan that no list names."""

from typing import Annotated, ClassVar

from pydantic import Field

from voxray.config.validation import Spec


class DetectionSpec(Spec):
    """How a classifier of candidates finds those of a whole scan.

    They are blobs of 4 to 24 mm inside the lungs of a chest CT, by the Laplacian of Gaussians, without training.
    """

    also_called: ClassVar = {"limit": "max_proposals", "candidates": "max_proposals"}

    max_proposals: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Candidates of a scan, the most prominent first."""
