"""All losses, one line each. Adding one takes its own module in this folder and a line here."""

from collections.abc import Mapping

from voxray.config.validation import nearest
from voxray.errors import ConfigError
from voxray.training.losses.base import Loss
from voxray.training.losses.cross_entropy import cross_entropy
from voxray.training.losses.dice import soft_dice
from voxray.training.losses.focal import focal

LOSSES: Mapping[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss("cross_entropy", "cross-entropy, nats", (cross_entropy,), ("classification", "segmentation")),
        Loss("dice", "soft Dice", (soft_dice,)),
        Loss("focal", "focal", (focal,)),
        Loss("dice_cross_entropy", "soft Dice + cross-entropy", (soft_dice, cross_entropy)),
        Loss("dice_focal", "soft Dice + focal", (soft_dice, focal)),
    )
}


def find_loss(name: str, task: str) -> Loss:
    """The loss of `training.loss` for a task.

    Raises
    ------
    ConfigError
        The task has no such loss.
    """
    known = [loss.name for loss in LOSSES.values() if task in loss.tasks]
    if name not in known:
        raise ConfigError("training.loss", f"unknown loss '{name}' for {task}; {nearest(name, known)}")
    return LOSSES[name]
