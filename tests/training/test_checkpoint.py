from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from voxray.errors import StoreError
from voxray.training.checkpoint import Progress, load_checkpoint, load_model, save_checkpoint

GARBAGE = (b"", b"weights", b"\x08\0\0\0\0\0\0\0{}      ")


def network() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Linear(2, 1)
    return model, torch.optim.Adam(model.parameters())


@pytest.mark.parametrize("content", GARBAGE)
def test_a_checkpoint_that_cannot_be_read_counts_as_absent(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, *network(), None, Progress(epoch=3, key="a"))
    assert load_checkpoint(tmp_path, *network(), None, "a").epoch == 3
    path.write_bytes(content)
    assert load_checkpoint(tmp_path, *network(), None, "a") == Progress(key="a")


@pytest.mark.parametrize("content", GARBAGE)
def test_a_model_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"model\.safetensors: not a model of Voxray: .*Delete it"):
        load_model(path, network()[0])


def test_weights_of_another_program_are_no_model_of_voxray(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(network()[0].state_dict(), path)
    with pytest.raises(StoreError, match="not a model of Voxray"):
        load_model(path, network()[0])
