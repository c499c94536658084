"""The table of layers: what each gives and costs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LayerShape:
    """One line of the table of layers.

    Attributes
    ----------
    place : str
        Where the layer stands in its file, such as ``[4].layers[0]`` or ``down[1]``.
    type : str
    detail : str
        Kernel, stride and so on, for people.
    output : tuple of int
        (channel, x, y[, z]) or (units,).
    parameters : int
        Trainable ones.
    """

    place: str
    type: str
    detail: str
    output: tuple[int, ...]
    parameters: int
