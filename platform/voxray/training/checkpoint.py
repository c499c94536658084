"""Models and checkpoints as safetensors: tensors and a JSON header, nothing that could run code.

The header holds a checksum of all that the file holds, which is compared when the tensors are read.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from voxray.errors import NotReadyError, StoreError, WorkError
from voxray.runs.folder import BEST_CHECKPOINT, LAST_CHECKPOINT
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
    counts : sequence of float
        What the task counted in these steps, of all ranks together.
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
    counts: Sequence[float] = ()
    best_value: float | None = None
    best_epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    key: str = ""


def save_model(path: AnyPath, model: nn.Module, metadata: dict[str, Any]) -> None:
    """Write weights with the metadata to use them; the file appears complete or not at all."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    _save(path, tensors, metadata)


def load_model(path: AnyPath, model: nn.Module) -> dict[str, Any]:
    """Load the weights of a file into a model; returns its metadata.

    Raises
    ------
    NotReadyError
        There is no such file.
    StoreError
        The file is damaged, or holds the weights of another network.
    """
    tensors, metadata = _load(path)
    _check_fits(path, tensors, model)
    model.load_state_dict(tensors)
    return metadata


def read_metadata(path: AnyPath) -> dict[str, Any]:
    """The metadata of a model file."""
    return _load(path, tensors=False)[1]


def write_metadata(path: AnyPath, metadata: dict[str, Any]) -> None:
    """Replace the metadata of a model file."""
    _save(path, _load(path)[0], metadata)


def weights_digest(path: AnyPath) -> str:
    """A digest of the weights in a model file, whatever its metadata."""
    return _checksum(_load(path)[0], {})


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
    folder: AnyPath, model: nn.Module, optimizer: torch.optim.Optimizer, average: nn.Module | None, key: str
) -> Progress:
    """Restore the last checkpoint of the same training; the initial progress if there is none that can be used."""
    path = folder / LAST_CHECKPOINT
    try:
        progress, tensors = _read_progress(folder)
        if progress.key != key:
            return Progress(key=key)
        weights, averages = _unprefixed(MODEL, tensors), _unprefixed(AVERAGE, tensors)
        _check_fits(path, weights, model)
        if average is not None:
            _check_fits(path, averages, average)
    except (NotReadyError, StoreError):
        return Progress(key=key)
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key_path, value in _unprefixed(OPTIMIZER, tensors).items():
        number, name = key_path.split(".", 1)
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    model.load_state_dict(weights)
    if average is not None:
        average.load_state_dict(averages)
    return progress


def remove_damaged_checkpoints(folder: AnyPath) -> str:
    """Remove checkpoints that training cannot resume from; returns the problem, empty where there is none."""
    if not exists(folder / LAST_CHECKPOINT):
        return ""
    try:
        if _read_progress(folder)[0].best_epoch:
            _load(folder / BEST_CHECKPOINT)
    except (NotReadyError, StoreError) as error:
        for name in (LAST_CHECKPOINT, BEST_CHECKPOINT):
            (folder / name).unlink(missing_ok=True)
        return f"{error.where}: {error.problem}"
    return ""


def _read_progress(folder: AnyPath) -> tuple[Progress, dict[str, torch.Tensor]]:
    """Progress and tensors of the last checkpoint, whose best epoch is the one of the best checkpoint."""
    path = folder / LAST_CHECKPOINT
    tensors, metadata = _load(path)
    try:
        progress = Progress(**metadata["progress"])
    except (KeyError, TypeError) as error:
        raise _damaged(path, error) from None
    if progress.best_epoch:
        best = read_metadata(folder / BEST_CHECKPOINT)
        # It is written first: after a kill in between it may be one epoch ahead.
        if best.get("key") != progress.key or best.get("epoch", 0) < progress.best_epoch:
            raise StoreError(str(folder / BEST_CHECKPOINT), "belongs to another training", "Delete it")
    return progress, tensors


def _check_fits(path: AnyPath, tensors: dict[str, torch.Tensor], module: nn.Module) -> None:
    """Raise StoreError where names or shapes of tensors are not those of a module."""
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    different = [name for name in expected | found if expected.get(name) != found.get(name)]
    if different:
        name = different[0]
        shapes = f"'{name}' has shape {found.get(name, 'missing')}, expected {expected.get(name, 'no such tensor')}"
        raise StoreError(str(path), f"holds the weights of another network: {shapes}", "Train it again")


def _prefixed(prefix: str, module: nn.Module) -> dict[str, torch.Tensor]:
    return {prefix + name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}


def _unprefixed(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


def _checksum(tensors: dict[str, torch.Tensor], metadata: dict[str, Any]) -> str:
    checksum = xxhash.xxh3_128(json.dumps(metadata).encode())
    for name in sorted(tensors):
        checksum.update(name.encode())
        checksum.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return checksum.hexdigest()


def _save(path: AnyPath, tensors: dict[str, torch.Tensor], metadata: dict[str, Any]) -> None:
    # One entry: the order of several would differ from file to file.
    header = {"checksum": _checksum(tensors, metadata), "metadata": metadata}
    try:
        with atomic_write(path) as unfinished:
            save_file(tensors, unfinished, metadata={"voxray": json.dumps(header)})
    except SafetensorError as error:
        raise WorkError(
            str(path), f"cannot be written: {error}", "Free some disk space and re-run the same command to resume"
        ) from error


def _load(path: AnyPath, *, tensors: bool = True) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    try:
        with local_copy(path) as copy, safe_open(copy, framework="pt") as file:
            header = json.loads((file.metadata() or {})["voxray"])
            checksum, metadata = header["checksum"], dict(header["metadata"])
            content = {name: file.get_tensor(name) for name in file.keys()} if tensors else {}  # noqa: SIM118
            if tensors and _checksum(content, metadata) != checksum:
                raise ValueError("its checksum differs from its content")
            return content, metadata
    except FileNotFoundError:
        raise NotReadyError(str(path), "no such model", "Run voxray train first") from None
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise _damaged(path, error) from None


def _damaged(path: AnyPath, error: Exception) -> StoreError:
    return StoreError(str(path), f"not a model of Voxray: {error}", "Delete it and run voxray train again")
