"""The table of layers: what each gives and costs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LayerShape:
    """One line of the table of layers.

    Attributes
    ----------
    type : str
    detail : str
        Kernel, stride and so on, for people.
    output : tuple of int
        (channel, x, y[, z]) or (units,).
    parameters : int
        Trainable ones.
    """

    type: str
    detail: str
    output: tuple[int, ...]
    parameters: int
