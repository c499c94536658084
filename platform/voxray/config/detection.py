"""Settings of detection: the candidates of a scan that no list names."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

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
        "hard_negatives": "rounds",
    }

    proposals: Literal["log", "model", "list"] = "log"
    """What proposes candidates: `log` finds blobs of 4 to 24 mm in the lungs of a chest CT by the Laplacian of
    Gaussians, without training; `model` finds the local maxima of the probability that the segmentation network of
    another run gives to the voxels in the lungs; `list` takes those of a list only, so that no scan is searched."""
    model: str | None = None
    """Folder of that run, for proposals by a `model`; a path relative to the experiment's file, or a URL. In a
    cross-validation the network of fold k proposes for fold k."""
    false_positives_per_scan: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 4.0
    """The operating point of whole scans: at most so many false positives a scan on validation."""
    max_proposals: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Candidates of a scan, the most prominent first."""
    rounds: Literal[1, 2] = 1
    """luna16: of 2 rounds the network of the first one searches the training scans, and the second one also trains on
    what it found there that is no nodule: on as many hard negatives as `patches.negatives_per_positive` keeps."""

    @model_validator(mode="after")
    def _names_the_model(self) -> "DetectionSpec":
        if self.proposals == "model" and self.model is None:
            raise ValueError("model: missing, which proposals = 'model' needs; name the folder of a segmentation's run")
        if self.proposals != "model" and self.model is not None:
            raise ValueError(f"model: has no effect with proposals = '{self.proposals}'; remove it or set 'model'")
        return self

    @model_validator(mode="after")
    def _searches_for_hard_negatives(self) -> "DetectionSpec":
        if self.rounds > 1 and self.proposals == "list":
            raise ValueError("rounds: a second round searches whole scans, got proposals = 'list'; change one of them")
        return self
