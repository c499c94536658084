from pathlib import Path

import pytest
import torch

from voxray.config.load import load_experiment
from voxray.errors import ConfigError
from voxray.models.build import build_model
from voxray.models.shapes import count_parameters, infer_shapes, model_input, parse_input
from voxray.models.spec.load import load_architecture

PUBLISHED = {
    "archsm": ((1, 64, 64), 99_948),
    "arch": ((1, 64, 64), 663_228),
    "arch3dsm": ((1, 64, 64, 10), 196_108),
    "arch3d": ((1, 64, 64, 10), 1_269_052),
    "mosmed_cnn3d": ((1, 128, 128, 64), 1_351_873),
    "brats2020_resnet18": ((4, 240, 240), 11_180_738),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_networks_have_their_published_parameters(project: Path, name: str) -> None:
    shape, parameters = PUBLISHED[name]
    layers = load_architecture(project / "configs" / "architectures" / f"{name}.json")
    assert count_parameters(infer_shapes(layers, shape, 2, name)) == parameters
    model = build_model(layers, shape, 2, 0)
    assert sum(each.numel() for each in model.parameters() if each.requires_grad) == parameters


def test_every_shipped_architecture_fits_the_patches_of_its_experiments(project: Path) -> None:
    for path in (project / "configs" / "experiments").glob("*.toml"):
        spec = load_experiment(path)
        architecture = load_architecture(Path(spec.model.architecture))
        assert infer_shapes(architecture, model_input(architecture, (1, *spec.patches.size)), 2, str(path))


def test_kernels_with_other_dimensions_than_the_input_are_refused(project: Path) -> None:
    layers = load_architecture(project / "configs" / "architectures" / "archsm.json")
    with pytest.raises(ConfigError, match="its kernels are 2D, the input 1x64x64x10 is 3D"):
        infer_shapes(layers, (1, 64, 64, 10), 2, "archsm.json")


@pytest.mark.parametrize("text", ["64", "1x64", "1x64x64x10x2", "1xax3", "1x0x4", ""])
def test_an_input_that_is_no_shape_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--input: expected CHANNELSxXxY"):
        parse_input(text)


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_generator_alone(project: Path) -> None:
    layers = load_architecture(project / "configs" / "architectures" / "archsm.json")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second, other = (build_model(layers, (1, 16, 16), 2, seed) for seed in (1, 1, 2))
    torch.testing.assert_close(torch.rand(3), expected)
    for mine, same in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(mine, same)
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_dropout_is_off_at_prediction(project: Path) -> None:
    model = build_model(load_architecture(project / "configs" / "architectures" / "archsm.json"), (1, 16, 16), 2, 0)
    images = torch.rand(4, 1, 16, 16)
    model.train()
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))
