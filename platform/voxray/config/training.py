"""Settings of the model, its training, its evaluation and its tracking."""

from typing import Annotated, ClassVar, Literal

from pydantic import ByteSize, Field, PositiveFloat, field_validator

from voxray.config.data import Share, Size
from voxray.config.validation import Spec

Workers = Annotated[int, Field(ge=1, le=10_000)]


class ModelSpec(Spec):
    """The network."""

    also_called: ClassVar = {"arch": "architecture", "file": "architecture", "path": "architecture"}

    architecture: str
    """JSON file of the architecture; a path relative to the experiment's file, or a URL."""


class TrainingSpec(Spec):
    """How the network is trained.

    `workers` may be a pair, the fewest and the most: then as many work as the cluster has room for, and their number
    may change during training. The batches stay those of the most workers, whichever workers compute them.
    """

    also_called: ClassVar = {
        "l2": "weight_decay",
        "l2_regularization": "weight_decay",
        "lr": "learning_rate",
        "lr_scheduler": "schedule",
        "clip": "gradient_clip_norm",
        "clip_grad": "gradient_clip_norm",
        "gradient_clip_val": "gradient_clip_norm",
        "accumulate_grad_batches": "accumulate_steps",
        "gradient_accumulation_steps": "accumulate_steps",
        "criterion": "loss",
        "max_epochs": "epochs",
        "best": "monitor",
        "ema": "ema_decay",
        "weight_average": "ema_decay",
        "patience": "early_stopping_epochs",
        "early_stopping": "early_stopping_epochs",
        "num_workers": "workers",
        "gpu": "device",
        "accelerator": "device",
        "amp": "precision",
        "mixed_precision": "precision",
    }

    epochs: Annotated[int, Field(ge=1, le=1_000_000)] = 20
    """Passes over the training patches."""
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = 300
    """Patches of a step, of all workers together."""
    accumulate_steps: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Steps whose gradients are averaged for one update of the weights, as of a batch that many times larger."""
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """Optimizer; `sgd` has Nesterov momentum."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """`sgd`: momentum."""
    gradient_clip_norm: Annotated[float, Field(ge=0)] = 0
    """Gradients of all weights together are scaled down to this norm where theirs is larger; 0 means never."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Highest learning rate."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-3
    """L2 penalty on the weights; decoupled with `adamw`."""
    schedule: Literal["constant", "cosine", "exponential", "polynomial"] = "constant"
    """Learning rate after the warmup; `polynomial` falls to 0 as (1 - progress)^0.9."""
    decay: Annotated[float, Field(gt=0, le=1)] = 0.96
    """`exponential`: factor of the learning rate every `decay_steps` steps."""
    decay_steps: Annotated[int, Field(ge=0)] = 0
    """`exponential`: updates of the weights between two decays; 0 means an epoch's."""
    warmup_epochs: Annotated[float, Field(ge=0)] = 0
    """Epochs in which the learning rate rises from 0."""
    loss: str = "cross_entropy"
    """Name of a loss of the task."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0
    """If above 0, the network that is validated and kept is the running mean a × mean + (1 - a) × weights."""
    class_weights: Literal["none", "balanced"] | tuple[Annotated[float, Field(gt=0)], ...] = "none"
    """Weights of the classes in the loss; `balanced` is inversely proportional to their frequency."""
    early_stopping_epochs: Annotated[int, Field(ge=0)] = 0
    """Stop after this many epochs without improvement; 0 means never."""
    early_stopping_monitor: str | None = None
    """Validation metric that must improve; by default `monitor`."""
    monitor: str = "loss"
    """Validation metric whose best epoch is kept; reports and the terminal show it first."""
    workers: Workers | tuple[Workers, Workers] = 1
    """Training processes, or their fewest and most."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of each worker."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the forward pass; `auto` is bfloat16 on GPUs that support it."""
    buffer_bytes: Size = ByteSize(2**28)
    """Memory in which a worker shuffles patches, such as ``"256MiB"``."""

    @field_validator("workers")
    @classmethod
    def _fewest_first(cls, workers: int | tuple[int, int]) -> int | tuple[int, int]:
        if not isinstance(workers, int) and workers[0] > workers[1]:
            raise ValueError("the fewest come first, then the most")
        return workers

    @property
    def stopping_monitor(self) -> str:
        """The metric of early stopping."""
        return self.early_stopping_monitor or self.monitor

    @property
    def fewest_workers(self) -> int:
        """Training waits for this many."""
        return self.workers if isinstance(self.workers, int) else self.workers[0]

    @property
    def most_workers(self) -> int:
        """The most that take part, and the number of streams of patches."""
        return self.workers if isinstance(self.workers, int) else self.workers[1]


class EvaluationSpec(Spec):
    """How a trained model is evaluated."""

    also_called: ClassVar = {"unit": "level", "temperature": "calibrate"}

    overlap: Share = 0.5
    """Segmentation: share of a window that overlaps the next one, along each axis."""
    tolerance_mm: PositiveFloat = 1.0
    """Segmentation: distance within which two surfaces agree, for surface Dice."""
    level: Literal["patch", "patient"] = "patch"
    """Classification: what is counted, patches, or patients by the mean probability of their patches."""
    target_recall: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Classification: recall that the operating point must have on the validation patches."""
    target_precision: Annotated[float, Field(gt=0, le=1)] = 0.74
    """Classification: precision at which `recall_at_precision` of each epoch is measured."""
    calibrate: bool = True
    """Classification: divide logits by a temperature that is fitted on validation, and undo that training repeated
    positives, dropped negatives or weighted classes."""


class TrackingSpec(Spec):
    """Weights & Biases."""

    project: str = "voxray"
    """Name of the project."""
    group: str | None = None
    """Group of the run; the trials of a search are one group."""
    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """`auto` is online if the user has logged in, else offline."""
