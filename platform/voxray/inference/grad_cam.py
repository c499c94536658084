"""Saliency of a class by Grad-CAM."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


def grad_cam(model: nn.Module, images: torch.Tensor, label: int) -> torch.Tensor:
    """Grad-CAM (Selvaraju et al. 2017) of the last feature maps before the network flattens or pools them.

    Parameters
    ----------
    model : nn.Module
        (n, channel, x, y[, z]) → (n, classes) logits; in evaluation mode.
    images : Tensor of float32, (n, channel, x, y[, z])
    label : int
        The class.

    Returns
    -------
    Tensor of float32, (n, x, y[, z])
        0 where nothing speaks for the class; not scaled, so that several patches can be compared.

    Raises
    ------
    ValueError
        The network has no feature maps.
    """
    layer = _last_maps(model, images[:1])
    kept: dict[str, torch.Tensor] = {}
    hook = layer.register_forward_hook(lambda _module, _inputs, output: kept.update(maps=output))
    try:
        with torch.enable_grad():
            # With gradients of the images, maps have gradients even where all weights are frozen.
            logits = model(images.detach().requires_grad_())
            (slopes,) = torch.autograd.grad(logits[:, label].sum(), kept["maps"])
    finally:
        hook.remove()
    spatial = tuple(range(2, images.ndim))
    weights = slopes.mean(spatial, keepdim=True)
    saliency = (weights * kept["maps"].detach()).sum(1, keepdim=True).relu()
    mode = "trilinear" if len(spatial) == 3 else "bilinear"
    return F.interpolate(saliency, images.shape[2:], mode=mode, align_corners=False)[:, 0]


def _last_maps(model: nn.Module, image: torch.Tensor) -> nn.Module:
    """The module that returns the last maps of more than one voxel."""
    modules: list[nn.Module] = []

    def record(module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.ndim == image.ndim and output[0, 0].numel() > 1:
            modules.append(module)

    hooks = [module.register_forward_hook(record) for module in model.modules() if module is not model]
    try:
        with torch.no_grad():
            model(image)
    finally:
        for hook in hooks:
            hook.remove()
    if not modules:
        raise ValueError("the network has no feature maps")
    return modules[-1]
