"""Models and checkpoints as safetensors: tensors and a JSON header, nothing that could run code."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from voxray.errors import NotReadyError, StoreError, WorkError
from voxray.storage.atomic import atomic_write
from voxray.storage.paths import AnyPath, exists, local_copy

MODEL, OPTIMIZER, AVERAGE = "model.", "optimizer.", "average."


@dataclass(frozen=True)
class Progress:
    """The state of training between two steps.

    Attributes
    ----------
    epoch : int
        Finished epochs.
    step : int
        Finished steps of the next epoch.
    loss_sums : sequence of float
        Sum of the local losses of each rank in these steps.
    best_value : float, optional
        Best value of `training.monitor`.
    best_epoch : int
    history : list of dict
        A row for each epoch.
    key : str
        Digest of everything that the training depends on.
    """

    epoch: int = 0
    step: int = 0
    loss_sums: Sequence[float] = ()
    best_value: float | None = None
    best_epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    key: str = ""


def save_model(path: AnyPath, model: nn.Module, metadata: dict[str, Any]) -> None:
    """Write weights with the metadata to use them; the file appears complete or not at all."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    _save(path, tensors, metadata)


def load_model(path: AnyPath, model: nn.Module) -> dict[str, Any]:
    """Load the weights of a file into a model; returns its metadata."""
    tensors, metadata = _load(path)
    model.load_state_dict(tensors)
    return metadata


def read_metadata(path: AnyPath) -> dict[str, Any]:
    """The metadata of a model file."""
    return _load(path, tensors=False)[1]


def write_metadata(path: AnyPath, metadata: dict[str, Any]) -> None:
    """Replace the metadata of a model file."""
    _save(path, _load(path)[0], metadata)


def save_checkpoint(
    path: AnyPath, model: nn.Module, optimizer: torch.optim.Optimizer, average: nn.Module | None, progress: Progress
) -> None:
    """Write everything that resuming needs; `average` is the moving average of the weights, if there is one."""
    tensors = _prefixed(MODEL, model) | ({} if average is None else _prefixed(AVERAGE, average))
    for number, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            tensors[f"{OPTIMIZER}{number}.{name}"] = torch.as_tensor(value).detach().cpu().contiguous()
    _save(path, tensors, {"progress": vars(progress)})


def load_checkpoint(
    path: AnyPath, model: nn.Module, optimizer: torch.optim.Optimizer, average: nn.Module | None, key: str
) -> Progress:
    """Restore a checkpoint of the same training; the initial progress if there is none that can be read."""
    if not exists(path):
        return Progress(key=key)
    try:
        tensors, metadata = _load(path)
    except StoreError:
        return Progress(key=key)
    progress = Progress(**metadata["progress"])
    if progress.key != key:
        return Progress(key=key)
    model.load_state_dict(_unprefixed(MODEL, tensors))
    if average is not None:
        average.load_state_dict(_unprefixed(AVERAGE, tensors))
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key_path, value in _unprefixed(OPTIMIZER, tensors).items():
        number, name = key_path.split(".", 1)
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return progress


def _prefixed(prefix: str, module: nn.Module) -> dict[str, torch.Tensor]:
    return {prefix + name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}


def _unprefixed(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


def _save(path: AnyPath, tensors: dict[str, torch.Tensor], metadata: dict[str, Any]) -> None:
    try:
        with atomic_write(path) as unfinished:
            save_file(tensors, unfinished, metadata={"voxray": json.dumps(metadata)})
    except SafetensorError as error:
        raise WorkError(
            str(path), f"cannot be written: {error}", "Free some disk space and re-run the same command to resume"
        ) from error


def _load(path: AnyPath, *, tensors: bool = True) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    try:
        with local_copy(path) as copy, safe_open(copy, framework="pt") as file:
            metadata = json.loads((file.metadata() or {})["voxray"])
            return {name: file.get_tensor(name) for name in file.keys()} if tensors else {}, metadata  # noqa: SIM118
    except FileNotFoundError:
        raise NotReadyError(str(path), "no such model", "Run voxray train first") from None
    except (SafetensorError, KeyError, ValueError) as error:
        raise StoreError(str(path), f"not a model of Voxray: {error}", "Delete it and run voxray train again") from None
