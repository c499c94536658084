"""Settings of the model, its training, its evaluation and its tracking."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, field_validator

from voxray.config.data import Positive, Share
from voxray.config.validation import Spec


class ModelSpec(Spec):
    """The architecture file."""

    architecture: str


class TrainingSpec(Spec):
    """How the network is fitted. `batch_size` is that of all workers together.

    `workers` may be a pair, the fewest and the most: then as many work as the cluster has room for, and their number
    may change while they do. The batches stay those of the most, which share out the patches whoever works.

    The schedule `exponential` multiplies the rate by `decay` after every `decay_steps` steps; 0 means an epoch's.

    `loss` is the name of a loss of the task. `monitor` is the validation metric whose best epoch is kept, and
    `early_stopping_monitor` (by default the same) the one that must improve within `early_stopping_epochs` epochs.

    With a `ema_decay` a, the network that is validated and kept is not the last one but the running mean
    a × mean + (1 - a) × weights over the steps (Polyak averaging).
    """

    epochs: Positive = 20
    batch_size: Positive = 300
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-3
    schedule: Literal["constant", "cosine", "exponential"] = "constant"
    decay: Annotated[float, Field(gt=0, le=1)] = 0.96
    decay_steps: Annotated[int, Field(ge=0)] = 0
    warmup_epochs: Annotated[float, Field(ge=0)] = 0
    loss: str = "cross_entropy"
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0
    class_weights: Literal["none", "balanced"] | tuple[Annotated[float, Field(gt=0)], ...] = "none"
    early_stopping_epochs: Annotated[int, Field(ge=0)] = 0
    early_stopping_monitor: str | None = None
    monitor: str = "loss"
    workers: Positive | tuple[Positive, Positive] = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    buffer_bytes: Positive = 2**28

    @field_validator("workers")
    @classmethod
    def _fewest_first(cls, workers: int | tuple[int, int]) -> int | tuple[int, int]:
        if not isinstance(workers, int) and workers[0] > workers[1]:
            raise ValueError("the fewest come first, then the most")
        return workers

    @property
    def fewest_workers(self) -> int:
        """Without so many there is no training."""
        return self.workers if isinstance(self.workers, int) else self.workers[0]

    @property
    def most_workers(self) -> int:
        """As many as may take part, and lanes of the patches' order."""
        return self.workers if isinstance(self.workers, int) else self.workers[1]


class EvaluationSpec(Spec):
    """How a trained model is judged.

    For classifiers: the recall that the operating point must have on validation, the precision at which each epoch's
    `recall_at_precision` is taken, and what is judged, each patch or each patient by the mean of the probabilities of
    its patches. For segmentation: the sliding window's overlap, and
    the tolerance of surface Dice.
    """

    overlap: Share = 0.5
    tolerance_mm: PositiveFloat = 1.0
    level: Literal["patch", "patient"] = "patch"
    target_recall: Annotated[float, Field(gt=0, le=1)] = 0.9
    target_precision: Annotated[float, Field(gt=0, le=1)] = 0.74
    bootstrap_samples: Positive = 1000


class TrackingSpec(Spec):
    """W&B. `auto` is online when the user has logged in and offline otherwise; the trials of a search are a group."""

    project: str = "voxray"
    group: str | None = None
    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
