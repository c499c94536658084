"""Samples of a space as networks for given patches: their cost, or why they are rejected."""

from dataclasses import dataclass, replace

from voxray.config.training import TrainingSpec
from voxray.console.units import bytes_text, count_text
from voxray.errors import ConfigError
from voxray.models.cost.estimate import Cost, estimate_cost
from voxray.models.spec.load import parse_architecture
from voxray.models.strides import fit_strides
from voxray.search.space.nodes import Suggest
from voxray.search.space.sampling import Sample, Space, sample

TRAINING = "training."


@dataclass(frozen=True)
class Limits:
    """The highest cost of a network; None is no limit.

    Attributes
    ----------
    parameters : int, optional
    memory_bytes : int, optional
        Peak memory of a worker while it trains.
    flops : int, optional
        Of a forward pass with one patch.
    """

    parameters: int | None = None
    memory_bytes: int | None = None
    flops: int | None = None

    def check(self, cost: Cost) -> None:
        """Raise if a cost exceeds a limit.

        Raises
        ------
        ConfigError
        """
        for limit, amount, text, problem in (
            (self.parameters, cost.parameters, "{:,}".format, "has {} parameters, more than {}"),
            (self.flops, cost.forward_flops, _flops_text, "takes {} a patch, more than {}"),
            (self.memory_bytes, cost.peak_bytes, bytes_text, "needs {} of memory, more than {}"),
        ):
            if limit is not None and amount > limit:
                raise ConfigError("sample", problem.format(text(amount), text(limit)))


@dataclass(frozen=True)
class Conditions:
    """What all samples of a search have in common.

    Attributes
    ----------
    patch_shape : tuple of int
        (channel, x, y, z).
    classes : int
        Background included, where there is one.
    training : TrainingSpec
        Of the experiment; settings of a sample take precedence.
    gpu : bool
        Whether they train on GPUs.
    limits : Limits
    """

    patch_shape: tuple[int, int, int, int]
    classes: int
    training: TrainingSpec
    gpu: bool = False
    limits: Limits = Limits()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(channel, x, y[, z]): patches of one slice are 2D."""
        return self.patch_shape[:3] if self.patch_shape[3] == 1 else self.patch_shape


def draw(space: Space, conditions: Conditions, suggest: Suggest) -> Sample:
    """A sample with strides that fit the patches."""
    drawn = sample(space, len(conditions.input_shape) - 1, suggest)
    return replace(drawn, architecture=fit_strides(drawn.architecture, conditions.input_shape))


def estimate(drawn: Sample, conditions: Conditions) -> Cost:
    """The cost of training a sample.

    Raises
    ------
    ConfigError
        It doesn't fit the patches, or exceeds a limit.
    """
    architecture = parse_architecture(drawn.architecture, "sample")
    settings = {key.removeprefix(TRAINING): value for key, value in drawn.settings.items() if key.startswith(TRAINING)}
    training = conditions.training.model_copy(update=settings)
    shape, classes = conditions.input_shape, conditions.classes
    cost = estimate_cost(architecture, shape, classes, training, "sample", gpu=conditions.gpu)
    conditions.limits.check(cost)
    return cost


def _flops_text(flops: float) -> str:
    return f"{count_text(flops)}FLOP"
