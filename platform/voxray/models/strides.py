"""Strides limited to the size of each axis, so that sampled networks remain valid for flat patches."""

from collections.abc import Mapping, Sequence
from operator import gt
from typing import Any

from voxray.models.padding import divide, sizes_after


def fit_strides(content: Any, input_shape: Sequence[int]) -> Any:
    """Reduce strides that are larger than the remaining size of an axis to that size.

    The network continues along the other axes then. Nothing else changes: other problems are reported by
    `infer_shapes`.

    Parameters
    ----------
    content : list or dict
        Of a valid architecture file with as many dimensions as the input.
    input_shape : sequence of int
        (channel, x, y[, z]).

    Returns
    -------
    list or dict
        The content itself if all strides fit, otherwise a changed copy.
    """
    sizes = input_shape[1:]
    return _fit_steps(content, sizes) if isinstance(content, Mapping) else _fit_layers(content, sizes)[0]


def _fit_layers(
    layers: Sequence[Mapping[str, Any]], sizes: Sequence[int]
) -> tuple[list[Mapping[str, Any]], Sequence[int]]:
    fitted = []
    for layer in layers:
        if "layers" in layer:
            inner, sizes = _fit_layers(layer["layers"], sizes)
            layer = {**layer, "layers": inner}
        elif "stride" in layer:
            stride, kernel, padding = layer["stride"], layer["kernel_size"], layer.get("padding", "same")
            if any(map(gt, stride, sizes)):
                stride = _cut(stride, sizes)
                layer = {**layer, "stride": stride}
            sizes = sizes_after(padding, sizes, kernel, stride)
        fitted.append(layer)
    return fitted, sizes


def _fit_steps(unet: Mapping[str, Any], sizes: Sequence[int]) -> Mapping[str, Any]:
    steps = len(unet["down"]) - 1
    given = unet.get("pool") or [2] * unet["dimensions"]
    strides = list(given) if isinstance(given[0], Sequence) else [given] * steps
    fitted = []
    for stride in strides:
        fitted.append(_cut(stride, sizes))
        sizes = divide(sizes, fitted[-1])
    return unet if fitted == [list(stride) for stride in strides] else {**unet, "pool": fitted}


def _cut(stride: Sequence[int], sizes: Sequence[int]) -> list[int]:
    return [max(min(step, size), 1) for step, size in zip(stride, sizes, strict=True)]
