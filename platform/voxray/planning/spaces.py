"""A search space around a plan: its network and settings are among the samples, with their neighbors."""

from typing import Any

from voxray.planning.choices import Proposal

FACTORS = (0.5, 1, 2)
# Values that are tried beside that of the plan.
AROUND = {
    "training.weight_decay": (0.0, 1e-4, 1e-2, 5e-2),
    "augment.rotate_range": (0, 10, 20, 30),
    "augment.scale": (0, 0.1, 0.2, 0.3),
}


def space_around(proposal: Proposal) -> dict[str, Any]:
    """The content of a space file for `voxray tune`."""
    rate = proposal.value("training.learning_rate")
    choices = {key: {"choice": sorted({*values, proposal.value(key)})} for key, values in AROUND.items()}
    experiment = {"training.learning_rate": {"log_uniform": [rate / 5, rate * 5]}, **choices}
    architecture = proposal.architecture
    space = _unet_space(architecture) if isinstance(architecture, dict) else _sequential_space(architecture)
    return {**space, "experiment": experiment}


def _unet_space(architecture: dict[str, Any]) -> dict[str, Any]:
    """Half, the same and twice the filters; with and without residual levels; other normalizations."""
    widths = [_scaled(architecture["down"], factor) for factor in FACTORS]
    ups = [_scaled(architecture["up"], factor) for factor in FACTORS]
    labels = ["half", "plan", "double"]
    return {
        "let": {"width": {"choice": labels}},
        "architecture": {
            **architecture,
            "down": {"$width": dict(zip(labels, widths, strict=True))},
            "up": {"$width": dict(zip(labels, ups, strict=True))},
            "normalization": {"choice": ["instance", "batch"]},
            "residual": {"choice": [False, True]},
            "drop_out": {"choice": [0, 10, 20]},
        },
    }


def _sequential_space(layers: list[dict[str, Any]]) -> dict[str, Any]:
    """Half, the same and twice the filters of each convolution, and other dropouts."""
    labels = ["half", "plan", "double"]

    def around(layer: dict[str, Any]) -> dict[str, Any]:
        if layer["type"] == "C":
            filters = [max(1, int(factor * layer["num_output"])) for factor in FACTORS]
            return {**layer, "num_output": {"$width": dict(zip(labels, filters, strict=True))}}
        if layer["type"] == "D":
            return {**layer, "drop_out": {"choice": sorted({0, 15, layer["drop_out"], 50})}}
        return layer

    return {"let": {"width": {"choice": labels}}, "architecture": [around(layer) for layer in layers]}


def _scaled(levels: list[list[int]], factor: float) -> list[list[int]]:
    return [[max(1, int(factor * filters)) for filters in level] for level in levels]
