"""Shapes and parameter counts of an architecture from integers alone, before any tensor exists."""

from voxray.errors import ConfigError, ConfigFileError
from voxray.models.layers.base import Step, by, in_order, walk_layers
from voxray.models.spec.load import Architecture
from voxray.models.spec.unet import UNet
from voxray.models.table import LayerShape
from voxray.models.unet_shapes import follow_unet, unet_problems


def parse_input(text: str) -> tuple[int, ...]:
    """``1x64x64x10`` as (channel, x, y, z)."""
    try:
        shape = tuple(int(part) for part in text.lower().split("x"))
    except ValueError:
        shape = ()
    if len(shape) not in (3, 4) or min(shape) < 1:
        raise ConfigError("--input", f"expected CHANNELSxXxY or CHANNELSxXxYxZ, got '{text}'", "For example 1x64x64x10")
    return shape


def model_input(architecture: Architecture, patch_shape: tuple[int, int, int, int]) -> tuple[int, ...]:
    """The shape of a network's input for patches of (channel, x, y, z); 2D networks take (channel, x, y).

    Raises
    ------
    ConfigError
        A 2D network and a patch of several slices.
    """
    if architecture.spatial_dims != 2:
        return patch_shape
    if patch_shape[3] != 1:
        problem = f"a 2D architecture takes patches of one slice, got {patch_shape[3]}"
        raise ConfigError("patches.size", problem, f"Set it, or augment.crop, to [{patch_shape[1]}, {patch_shape[2]}]")
    return patch_shape[:3]


def infer_shapes(
    architecture: Architecture, input_shape: tuple[int, ...], classes: int, where: str
) -> tuple[LayerShape, ...]:
    """Follow a shape through the layers.

    Parameters
    ----------
    architecture : Sequential or UNet
    input_shape : tuple of int
        (channel, x, y) or (channel, x, y, z).
    classes : int
        Background included, where there is one. A U-Net with a sigmoid has one output fewer.
    where : str
        File, named in errors.

    Returns
    -------
    tuple of LayerShape
        In the order in which the layers run.

    Raises
    ------
    ConfigError
        Kernels and input have different numbers of dimensions, a map shrinks to nothing, or a layer cannot process
        its input. All problems are reported at once, each with its key path.
    """
    steps = check_fit(architecture, input_shape, classes, where)
    if isinstance(architecture, UNet):
        return tuple(follow_unet(architecture, input_shape, classes))
    return tuple(map(_line, in_order(steps)))


def check_fit(architecture: Architecture, input_shape: tuple[int, ...], classes: int, where: str) -> tuple[Step, ...]:
    """Raise as `infer_shapes` does; returns the steps of a sequential network, none for a U-Net."""
    spatial_dims = architecture.spatial_dims
    steps: tuple[Step, ...] = ()
    if spatial_dims is not None and spatial_dims != len(input_shape) - 1:
        problem = f"its kernels are {spatial_dims}D, the input {by(input_shape)} is {len(input_shape) - 1}D"
        raise ConfigError(where, problem, "Choose another architecture or another patch size")
    if isinstance(architecture, UNet):
        problems = unet_problems(architecture, input_shape)
    else:
        steps = tuple(walk_layers(architecture.layers, input_shape, classes))
        problems = [problem for step in in_order(steps) for problem in step.layer.problems(step)]
    if problems:
        raise ConfigFileError(where, "\n  ".join([f"does not fit the input {by(input_shape)}.", *problems]))
    return steps


def count_parameters(table: tuple[LayerShape, ...]) -> int:
    """All trainable parameters."""
    return sum(line.parameters for line in table)


def _line(step: Step) -> LayerShape:
    layer = step.layer
    return LayerShape(step.key_path, layer.type, layer.describe(), step.leaving, layer.count_parameters(step))
