import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxray.errors import ConfigError
from voxray.models.shapes import infer_shapes
from voxray.models.spec.load import parse_architecture
from voxray.models.strides import fit_strides
from voxray.search.space.load import load_space
from voxray.search.space.sampling import at_random, sample

POOL = {"type": "P", "pool": "max", "kernel_size": [2, 2, 2], "stride": [2, 2, 2]}
T = {"type": "T", "activation": None}


def test_strides_are_cut_to_what_is_left_and_the_network_goes_on_along_other_axes() -> None:
    block = {"type": "R", "activation": None, "layers": [{**POOL, "stride": [3, 3, 3]}]}
    fitted = fit_strides([POOL, block, POOL, T], (1, 32, 32, 4))
    assert [layer.get("stride") for layer in fitted] == [[2, 2, 2], None, [2, 2, 1], None]
    assert fitted[1]["layers"][0]["stride"] == [3, 3, 2]
    assert infer_shapes(parse_architecture(fitted, "net"), (1, 32, 32, 4), 2, "net")[-2].output == (1, 3, 3, 1)


def test_steps_of_a_unet_are_cut() -> None:
    unet = {"type": "unet", "dimensions": 3, "down": [[2]] * 4, "up": [[2]] * 3, "output": {"activation": "softmax"}}
    fitted = fit_strides(unet, (1, 32, 32, 3))
    assert fitted["pool"] == [[2, 2, 2], [2, 2, 2], [2, 2, 1]]
    assert infer_shapes(parse_architecture(fitted, "net"), (1, 32, 32, 3), 2, "net")
    assert fit_strides(unet, (1, 32, 32, 8)) is unet


@pytest.mark.parametrize("name", ["archsm", "arch3d", "brats2020_resnet18", "lidc_cnn3d", "unet3d"])
def test_what_fits_stays_as_it_is(project: Path, name: str) -> None:
    content = json.loads((project / "configs" / "architectures" / f"{name}.json").read_text())
    spatial_dims = parse_architecture(content, name).spatial_dims
    assert fit_strides(content, (1, *(64,) * (spatial_dims or 2))) == content


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("cnn2d", (1, 64, 64)),
        ("cnn2d", (1, 50, 50)),
        ("cnn3d", (1, 64, 64, 10)),
        ("cnn3d", (1, 32, 32, 10)),
        ("cnn3d", (2, 32, 32, 20)),
        ("resnet", (4, 240, 240)),
        ("resnet", (1, 28, 28, 28)),
        ("unet", (1, 32, 48, 32)),
        ("unet", (4, 160, 160, 16)),
        ("unet", (1, 64, 64)),
    ],
)
def test_most_samples_of_the_shipped_spaces_fit_the_patches_they_are_for(
    project: Path, name: str, shape: tuple[int, ...]
) -> None:
    space = load_space(project / "configs" / "spaces" / f"{name}.json")
    rng = np.random.default_rng(0)

    def fits() -> bool:
        content: Any = fit_strides(sample(space, len(shape) - 1, at_random(rng)).architecture, shape)
        try:
            return bool(infer_shapes(parse_architecture(content, name), shape, 2, name))
        except ConfigError:
            return False

    assert sum(fits() for _ in range(100)) >= 90
