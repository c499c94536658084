"""The cost of a network before it is allocated: parameters, floating-point operations and the memory of training."""

import math
from dataclasses import dataclass

from voxray.config.training import TrainingSpec
from voxray.models.cost.memory import follow_step
from voxray.models.cost.operations import FLOAT, Operations
from voxray.models.cost.unet_operations import add_unet_operations
from voxray.models.layers.base import add_all_operations
from voxray.models.shapes import check_fit
from voxray.models.spec.load import Architecture
from voxray.models.spec.unet import UNet

MOMENTS = {"adam": 2, "adamw": 2, "sgd": 1}  # copies of the weights that an optimizer keeps
STEPPING = {"adam": 4, "adamw": 3, "sgd": 3}  # copies of a tensor of weights while it is updated
LABEL, INSIDE = 8, 1  # bytes of a class, and of the mask of voxels inside the scan


@dataclass(frozen=True)
class Cost:
    """The cost of a network.

    Attributes
    ----------
    parameters : int
        Trainable ones.
    forward_flops, training_flops : int
        Of convolutions and dense layers, for a patch: of the forward pass, and of forward and backward pass. A
        multiplication and an addition are two.
    weights_bytes, gradients_bytes, optimizer_bytes : int
        Allocated all the time. The optimizer includes the moving average of the weights, if there is one.
    batch_bytes, activations_bytes : int
        The network's input, and tensors that exist at the end of the forward pass.
    workspace_bytes : int
        Other memory at the peak: gradients of activations, the loss, copies by kernels.
    unused_bytes : int
        On a CPU, what libraries keep at most: freed blocks of up to 32 MiB return to the C library's heap and not to
        the system.
    """

    parameters: int
    forward_flops: int
    training_flops: int
    weights_bytes: int
    gradients_bytes: int
    optimizer_bytes: int
    batch_bytes: int
    activations_bytes: int
    workspace_bytes: int
    unused_bytes: int

    @property
    def peak_bytes(self) -> int:
        """Peak memory of training."""
        return (
            self.weights_bytes
            + self.gradients_bytes
            + self.optimizer_bytes
            + self.batch_bytes
            + self.activations_bytes
            + self.workspace_bytes
            + self.unused_bytes
        )


def estimate_cost(
    architecture: Architecture,
    input_shape: tuple[int, ...],
    classes: int,
    training: TrainingSpec,
    where: str,
    *,
    gpu: bool = False,
) -> Cost:
    """The cost of training a network, from integers alone: no tensor is allocated.

    Memory is what PyTorch allocates. Its libraries and the cache of a GPU's allocator are not included (docs/cost.md).

    Parameters
    ----------
    architecture : Sequential or UNet
    input_shape : tuple of int
        (channel, x, y[, z]).
    classes : int
        Background included, where there is one.
    training : TrainingSpec
        Memory is that of one worker.
    where : str
        File, named in errors.
    gpu : bool
        Whether kernels run on a GPU.

    Raises
    ------
    ConfigError
        The network doesn't fit the input, see `models.shapes.infer_shapes`.
    """
    steps = check_fit(architecture, input_shape, classes, where)
    batch_size = math.ceil(training.batch_size / training.fewest_workers)
    half = gpu if training.precision == "auto" else training.precision == "bfloat16"
    network = Operations(math.prod(input_shape), batch_size, half, gpu)
    labels = LABEL
    if isinstance(architecture, UNet):
        logits = add_unet_operations(network, architecture, (network.image, input_shape), classes)
        labels = math.prod(input_shape[1:]) * (LABEL + INSIDE)
        for value, shape in logits:
            voxels = math.prod(shape[1:]) * batch_size
            network.lose(value, *(voxels * size for size in loss_bytes(training.loss, shape[0], classes - 1)))
    else:
        logits = [(add_all_operations(network, steps, network.image), ())]
        network.lose(logits[0][0], 0, 0, 0)
    stepping = STEPPING[training.optimizer] * FLOAT * (network.parameters if gpu else network.largest)
    memory = follow_step(network, len(logits), stepping, accumulates=training.accumulate_steps > 1)
    gradients, image = FLOAT * network.parameters, network.sizes[0]
    return Cost(
        network.parameters,
        network.forward_flops,
        network.forward_flops + network.backward_flops,
        weights_bytes=FLOAT * (network.parameters + network.buffers),
        gradients_bytes=gradients,
        optimizer_bytes=gradients * (MOMENTS[training.optimizer] + bool(training.ema_decay)),
        batch_bytes=image + labels * batch_size,
        activations_bytes=memory.activations,
        workspace_bytes=memory.peak - image - memory.activations - gradients,
        unused_bytes=memory.held,
    )


def loss_bytes(loss: str, channels: int, classes: int) -> tuple[int, int, int]:
    """Bytes for each voxel that a loss of `voxray.training.losses` keeps, and needs temporarily forward and backward.

    Parameters
    ----------
    loss : str
        Terms joined by ``_``, as `TrainingSpec.loss`.
    channels : int
        Of the logits: with softmax one for each class, with sigmoid one for each foreground class.
    classes : int
        Without the background.
    """
    softmax = channels > classes
    kept = before = after = 0
    if "dice" in loss:
        # Probabilities, masked probabilities and truth as numbers, two masks of each class; temporary products.
        kept, before, after = FLOAT * (channels + 2 * classes) + 2 * classes, FLOAT * 2 * classes, FLOAT * 3 * classes
    if "cross_entropy" in loss:
        # The logarithms of probabilities and the labels, or the truth as numbers and masks.
        kept += FLOAT * (channels + 1) + LABEL if softmax else (FLOAT + 1) * classes
        after = max(after, FLOAT * 2 * channels)
    if "focal" in loss:
        # The logarithm of the probability of the true class, its complement, a power of it and their product.
        kept += FLOAT * (channels + 5) + LABEL if softmax else FLOAT * 8 * classes
        after = max(after, FLOAT * 2 * channels)
    return kept, max(before, FLOAT * 2 * classes), after
