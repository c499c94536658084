import pytest
import torch
from monai.visualize import GradCAM
from torch import nn

from voxray.inference.grad_cam import grad_cam


def network(rank: int) -> nn.Sequential:
    torch.manual_seed(0)
    convolution, pool = (nn.Conv3d, nn.MaxPool3d) if rank == 3 else (nn.Conv2d, nn.MaxPool2d)
    size = 4**rank
    maps = [convolution(1, 4, 3, padding=1), nn.ReLU(), pool(2), convolution(4, 6, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*maps, nn.Flatten(), nn.Linear(6 * size, 3)).eval()


@pytest.mark.parametrize("rank", [2, 3])
def test_the_saliency_is_that_of_monai(rank: int) -> None:
    model = network(rank)
    images = torch.rand((2, 1, *(8,) * rank), generator=torch.Generator().manual_seed(1))
    for label in range(3):
        # MONAI turns and scales its map afterwards; here it is taken as it is.
        theirs = GradCAM(model, target_layers="4", postprocessing=lambda maps: maps)(images, class_idx=label)
        torch.testing.assert_close(grad_cam(model, images, label), theirs[:, 0])


def test_the_saliency_lies_where_the_finding_is() -> None:
    model = nn.Sequential(nn.Conv3d(1, 1, 1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(1, 2))
    for module in (model[0], model[4]):
        nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    nn.init.ones_(model[0].weight)  # type: ignore[arg-type]
    model[4].weight.data = torch.tensor([[-1.0], [1.0]])
    image = torch.zeros((1, 1, 6, 6, 6))
    image[0, 0, 2, 3, 4] = 1
    found = grad_cam(model, image, 1)[0]
    assert torch.nonzero(found).tolist() == [[2, 3, 4]]
    assert not grad_cam(model, image, 0).any()


def test_a_network_without_maps_is_named() -> None:
    with pytest.raises(ValueError, match="no feature maps"):
        grad_cam(nn.Sequential(nn.Flatten(), nn.Linear(27, 2)), torch.zeros((1, 1, 3, 3, 3)), 0)
