from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from voxray.errors import StoreError
from voxray.training.checkpoint import (
    Progress,
    load_checkpoint,
    load_model,
    remove_damaged_checkpoints,
    save_checkpoint,
    save_model,
)

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


def test_a_flipped_bit_of_a_weight_is_found(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_model(path, network()[0], {"epoch": 1})
    whole = path.read_bytes()
    for byte in (len(whole) - 1, len(whole) - 12):  # of the payload
        path.write_bytes(whole[:byte] + bytes([whole[byte] ^ 1]) + whole[byte + 1 :])
        with pytest.raises(StoreError, match="its checksum differs from its content"):
            load_model(path, network()[0])
    path.write_bytes(whole)
    assert load_model(path, network()[0]) == {"epoch": 1}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (nn.Linear(3, 1), r"holds the weights of another network: 'weight' has shape \(1, 2\), expected \(1, 3\)"),
        (nn.Linear(2, 1, bias=False), "'bias' has shape .*, expected no such tensor"),
        (nn.Sequential(nn.Linear(2, 1)), "has shape missing, expected"),
    ],
)
def test_weights_of_another_network_are_refused(tmp_path: Path, other: nn.Module, message: str) -> None:
    path = tmp_path / "model.safetensors"
    save_model(path, network()[0], {})
    with pytest.raises(StoreError, match=message):
        load_model(path, other)


def test_a_checkpoint_is_resumed_only_with_the_best_one_of_the_same_training(tmp_path: Path) -> None:
    model, optimizer = network()
    last, best = tmp_path / "last.safetensors", tmp_path / "best.safetensors"
    save_model(best, model, {"epoch": 2, "key": "a"})
    save_checkpoint(last, model, optimizer, None, Progress(epoch=3, best_epoch=2, key="a"))
    assert load_checkpoint(tmp_path, *network(), None, "a").epoch == 3
    assert remove_damaged_checkpoints(tmp_path) == ""
    for metadata in ({"epoch": 2, "key": "b"}, {"epoch": 1, "key": "a"}, {}):
        save_model(best, model, metadata)
        assert load_checkpoint(tmp_path, *network(), None, "a") == Progress(key="a")
    best.unlink()
    assert load_checkpoint(tmp_path, *network(), None, "a") == Progress(key="a")
    assert "best.safetensors: no such model" in remove_damaged_checkpoints(tmp_path)
    assert not last.exists()


def test_two_checkpoints_of_the_same_state_are_the_same_bytes(tmp_path: Path) -> None:
    model = network()[0]
    for name in ("a", "b"):
        save_model(tmp_path / name, model, {"epoch": 1, "classes": ["x", "y"]})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
