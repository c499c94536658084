"""The layers of sequential networks, each in a file of its own.

To add one, write a subclass of `Layer` in a new file of this folder and add its line to `LAYERS`: parsing, shapes,
costs, torch modules, the JSON schemas and search spaces follow from that.
"""

from voxray.models.layers.base import Layer
from voxray.models.layers.convolution import Convolution
from voxray.models.layers.dense import Dense
from voxray.models.layers.dropout import Dropout
from voxray.models.layers.global_average import GlobalAverage
from voxray.models.layers.normalization import Normalization
from voxray.models.layers.output import Output
from voxray.models.layers.pooling import Pooling
from voxray.models.layers.residual import Residual

LAYERS: dict[str, type[Layer]] = {
    "C": Convolution,
    "P": Pooling,
    "N": Normalization,
    "D": Dropout,
    "R": Residual,
    "G": GlobalAverage,
    "FC": Dense,
    "T": Output,
}
OUTPUT = "T"  # the last layer of every network


def block_layers() -> dict[str, type[Layer]]:
    """The layers that may stand inside another layer: those that keep maps."""
    return {name: layer for name, layer in LAYERS.items() if not layer.ends_maps}
