"""Samples of a space as networks for given patches: what each costs, or why it cannot be trained."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from voxray.config.training import TrainingSpec
from voxray.console.units import bytes_text, count_text
from voxray.errors import ConfigError
from voxray.models.cost.estimate import Cost, estimate_cost
from voxray.models.spec.load import parse_architecture
from voxray.models.strides import fit_strides
from voxray.search.space.nodes import Suggest
from voxray.search.space.sampling import Sample, Space, sample


@dataclass(frozen=True)
class Limits:
    """How much a network may cost; None is no limit.

    Attributes
    ----------
    parameters : int, optional
    memory_bytes : int, optional
        Of a worker, at most while it trains.
    flops : int, optional
        Of a patch on its way through the network.
    """

    parameters: int | None = None
    memory_bytes: int | None = None
    flops: int | None = None


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
        Of the experiment; a sample's own settings come before it.
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
    """A sample whose strides fit the patches."""
    drawn = sample(space, len(conditions.input_shape) - 1, suggest)
    return replace(drawn, architecture=fit_strides(drawn.architecture, conditions.input_shape))


def estimate(drawn: Sample, conditions: Conditions) -> Cost:
    """What training a sample costs.

    Raises
    ------
    ConfigError
        It doesn't fit the patches, or is beyond a limit.
    """
    architecture = parse_architecture(drawn.architecture, "sample")
    training = conditions.training.model_copy(update=_training_settings(drawn.settings))
    cost = estimate_cost(
        architecture, conditions.input_shape, conditions.classes, training, "sample", gpu=conditions.gpu
    )
    limits = conditions.limits
    if limits.parameters is not None and cost.parameters > limits.parameters:
        raise ConfigError("sample", f"has {cost.parameters:,} parameters, more than {limits.parameters:,}")
    if limits.flops is not None and cost.forward_flops > limits.flops:
        problem = f"takes {count_text(cost.forward_flops)}FLOP a patch, more than {count_text(limits.flops)}FLOP"
        raise ConfigError("sample", problem)
    if limits.memory_bytes is not None and cost.peak_bytes > limits.memory_bytes:
        problem = f"needs {bytes_text(cost.peak_bytes)} of memory, more than {bytes_text(limits.memory_bytes)}"
        raise ConfigError("sample", problem)
    return cost


def _training_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    table = "training."
    return {key.removeprefix(table): value for key, value in settings.items() if key.startswith(table)}
