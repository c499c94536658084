"""The table of layers, with the output and the parameters of each."""

from dataclasses import dataclass

from voxray.models.layers import LAYERS

STEP_UP = "step up"  # of a U-Net, which is no layer of its own


@dataclass(frozen=True)
class LayerShape:
    """One line of the table of layers.

    Attributes
    ----------
    key_path : str
        Location of the layer in its file, such as ``[4].layers[0]`` or ``down[1]``.
    type : str
    detail : str
        Kernel, stride and so on, for people.
    output : tuple of int
        (channel, x, y[, z]) or (units,).
    parameters : int
        Trainable ones.
    """

    key_path: str
    type: str
    detail: str
    output: tuple[int, ...]
    parameters: int

    @property
    def label(self) -> str:
        """The type in words."""
        return LAYERS[self.type].label if self.type in LAYERS else STEP_UP
