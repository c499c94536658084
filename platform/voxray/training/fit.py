"""Training as a whole: a finished store and an experiment to a trained model in the run's folder."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import nn

import voxray
from voxray.config.experiment import Experiment
from voxray.config.labels import label_settings, mask_labels
from voxray.config.tasks import TASKS
from voxray.config.training import TrainingSpec
from voxray.console.failures import print_warning
from voxray.console.progress import OnProgress
from voxray.console.signals import never_stop
from voxray.errors import DataError
from voxray.loader.crops import Crops, GridCrops, RandomCrops
from voxray.loader.loader import PatchLoader
from voxray.models.build import build_model
from voxray.models.cost.estimate import Cost, estimate_cost
from voxray.models.shapes import count_parameters, infer_shapes, model_input
from voxray.models.spec.load import Architecture, load_architecture
from voxray.runs.folder import RunFolder, run_folder
from voxray.runs.keys import digest, train_key
from voxray.storage.atomic import write_json
from voxray.storage.paths import AnyPath, read_bytes, to_path
from voxray.store.added import hard_negatives, open_trained_store
from voxray.store.layout import write_parquet
from voxray.store.read import PatchStore
from voxray.training.checkpoint import Progress, save_model
from voxray.training.distributed import rank_and_world_size
from voxray.training.inputs import Preprocessing
from voxray.training.loop import Watcher, train
from voxray.training.memory_check import check_memory
from voxray.training.monitors import annotations_key
from voxray.training.tasks import build_task

if TYPE_CHECKING:
    from voxray.tracking.wandb_run import Tracker

# Metrics in the progress display, beside the monitors of the experiment.
SHOWN = ("train_loss", "train_accuracy", "train_dice", "val_loss", "val_recall", "val_roc_auc", "val_dice")


@dataclass(frozen=True)
class Network:
    """An architecture that fits a store."""

    layers: Architecture
    text: str
    input_shape: tuple[int, ...]
    parameters: int

    @property
    def spatial_dims(self) -> int:
        """2 or 3."""
        return len(self.input_shape) - 1

    def build(self, classes: int, seed: int) -> nn.Module:
        """The untrained network."""
        return build_model(self.layers, self.input_shape, classes, seed)

    def cost(self, classes: int, training: TrainingSpec, *, gpu: bool) -> Cost:
        """Memory and operations of training it."""
        return estimate_cost(self.layers, self.input_shape, classes, training, "model.architecture", gpu=gpu)


def load_network(path: AnyPath, patch_shape: tuple[int, int, int, int], classes: int) -> Network:
    """Read an architecture and check it against the patches, or their crops."""
    layers = load_architecture(path)
    input_shape = model_input(layers, patch_shape)
    parameters = count_parameters(infer_shapes(layers, input_shape, classes, str(path)))
    return Network(layers, read_bytes(path).decode(), input_shape, parameters)


def fit(
    experiment: Experiment,
    *,
    device: torch.device,
    on_progress: OnProgress,
    report: Callable[[dict[str, Any]], None] = lambda row: None,
    stop: Callable[[], bool] = never_stop,
    on_warning: Callable[[str], None] = print_warning,
) -> None:
    """Train in this process, which may be one of several ranks.

    Parameters
    ----------
    experiment : Experiment
    device : torch.device
    on_progress : callable
        (done, total, text) for a progress display; called on rank 0 only.
    report : callable
        Receives the history row of each epoch, on every rank.
    stop : callable
        Whether to stop early, with a checkpoint.
    on_warning : callable
        Receives one line for what is no error, such as a failure of W&B; called on rank 0 only.
    """
    rank, _ = rank_and_world_size()
    store = open_trained_store(experiment)
    check_trainable(store)
    shape = (store.info.channels, *experiment.input_size)
    network = load_network(to_path(experiment.model.architecture), shape, len(store.info.classes))
    cost = network.cost(len(store.info.classes), experiment.training, gpu=device.type == "cuda")
    check_memory(cost, experiment.training.batch_size, device)
    model = network.build(len(store.info.classes), experiment.seed).to(device)
    preprocessing = make_preprocessing(experiment, network.spatial_dims, device)
    model = model.to(memory_format=preprocessing.layout)  # type: ignore[call-overload]
    task = build_task(experiment, store, network.layers, device)
    loaders = [make_loader(experiment, store, split, device) for split in ("train", "val")]
    annotations = annotations_key(experiment)
    key = train_key(experiment, store.info.digest, store.content_digest, network.text, annotations)
    folder = run_folder(experiment)

    def run(tracker: "Tracker | None") -> None:
        follower = _Follower(experiment, tracker, on_progress)
        progress = train(
            model,
            loaders[0],
            loaders[1],
            experiment.training,
            preprocessing,
            task,
            folder.checkpoints,
            key=key,
            watcher=Watcher(follower.on_step, follower.on_epoch),
            report=report,
            stop=stop,
        )
        if tracker is not None:
            _write_results(folder, model, network, experiment, store, progress)

    if rank == 0:
        folder.remove_results()  # of another training
        write_json(folder.experiment, experiment.model_dump(mode="json"))
        write_json(folder.architecture, json.loads(network.text))
        known = {"parameters": network.parameters, **_added(store)}
        with make_tracker(experiment, key, known, on_warning) as tracker:
            run(tracker)
    else:
        run(None)


def check_trainable(store: PatchStore) -> None:
    """Raise DataError if train or val has no patch, or no patch of a class: nothing could be learned or chosen."""
    for split, problem in missing_classes(store):
        # The store was made with these scans, this seed and this split.
        remedy = f"Add scans or change seed or split.{split}, with a new folder for the store: --set store.path=…"
        if store.quarantine.num_rows:
            remedy = f"Replace the files of quarantined scans and run voxray ingest … --repair. {remedy}"
        raise DataError(str(store.path), problem, remedy)


def missing_classes(store: PatchStore) -> Iterator[tuple[str, str]]:
    """Each of train and val that has no patch, or no patch of a class, and that in words."""
    required = store.info.classes if TASKS[store.info.task].labeled == "patch" else ()
    for split in ("train", "val"):
        labels = set(pc.unique(store.rows(split)["label"]).to_pylist())
        if not labels and not required:
            yield split, f"split '{split}' has no patch"
        yield from (
            (split, f"split '{split}' has no patch of class '{name}'")
            for label, name in enumerate(required)
            if label not in labels
        )


def make_preprocessing(experiment: Experiment, spatial_dims: int, device: torch.device) -> Preprocessing:
    """Preprocessing of an experiment's batches."""
    spec = experiment.training
    return Preprocessing(
        experiment.intensity, experiment.augment, spatial_dims, experiment.seed, device, spec.precision
    )


def make_loader(
    experiment: Experiment,
    store: PatchStore,
    split: str,
    device: torch.device,
    part: tuple[int, int] | None = None,
) -> PatchLoader:
    """The loader of a split for this rank, or for `part` (rank, ranks)."""
    rank, ranks = part or rank_and_world_size()
    # With regions there may be more values in the masks than classes.
    values = len(mask_labels(store.info.classes, label_settings(experiment.data)).values)
    return PatchLoader(
        store,
        split,
        experiment.training.batch_size,
        rank=rank,
        ranks=ranks,
        streams=max(ranks, experiment.training.most_workers),
        seed=experiment.seed,
        buffer_bytes=experiment.training.buffer_bytes,
        pin=device.type == "cuda",
        crops=choose_crops(experiment, split, values),
    )


def choose_crops(experiment: Experiment, split: str, classes: int) -> Crops | None:
    """How the patches of a split are cropped: at random for training, else in a grid; None where they are not."""
    spec = experiment.augment
    if spec.crop is None:
        return None
    if split != "train":
        return GridCrops(spec.crop)
    return RandomCrops(spec.crop, spec.crops_per_patch, spec.foreground_share, classes, experiment.seed)


def make_tracker(
    experiment: Experiment,
    key: str,
    metadata: Mapping[str, Any] | None = None,
    on_warning: Callable[[str], None] = print_warning,
) -> "Tracker":
    """The W&B run of an experiment; the same training has the same run id. `metadata` is added to its config.

    No path is sent: the architecture goes as its content, and its file as the digest of it.
    """
    from voxray.tracking.wandb_run import Tracker

    files = {"root", "candidates", "manifest", "labels"}
    paths: Any = {"out": True, "data": files, "store": {"path"}, "model": {"architecture"}, "privacy": True}
    content = {**experiment.model_dump(mode="json", exclude=paths), **(metadata or {})}
    architecture = json.loads(read_bytes(to_path(experiment.model.architecture)))
    content["model"]["architecture"] = digest(architecture)
    return Tracker(
        experiment.out_path,
        name=experiment.name,
        project=experiment.tracking.project,
        run_id=re.sub(r"[^\w-]+", "-", f"{experiment.name}-{key}"),
        mode=experiment.tracking.mode,
        config={**content, "architecture": architecture},
        group=experiment.tracking.group,
        on_warning=on_warning,
    )


def epoch_text(row: Mapping[str, Any], training: TrainingSpec) -> str:
    """A row of the history in words: ``epoch 3: train loss 0.412, val loss 0.398``."""
    monitors = (f"val_{name}" for name in (training.monitor, training.stopping_monitor))
    shown = (name for name in dict.fromkeys((*SHOWN, *monitors)) if row.get(name) is not None)
    return f"epoch {row['epoch']}: " + ", ".join(f"{name.replace('_', ' ', 1)} {row[name]:.3f}" for name in shown)


class _Follower:
    """Forwards the steps and epochs of the loop to the progress display and to W&B."""

    def __init__(self, experiment: Experiment, tracker: "Tracker | None", on_progress: OnProgress) -> None:
        self.training, self.tracker, self.on_progress = experiment.training, tracker, on_progress
        self.text = ""
        self.epoch = self.steps = self.steps_before = 0

    def on_step(self, epoch: int, step: int, steps: int) -> None:
        # Epochs may differ in their steps; those of an earlier process are assumed to be like the current one.
        if epoch != self.epoch:
            self.steps_before += self.steps if self.epoch else (epoch - 1) * steps
            self.epoch, self.steps = epoch, steps
        total = self.steps_before + (self.training.epochs - epoch + 1) * steps
        self.on_progress(self.steps_before + step, total, f"epoch {epoch}/{self.training.epochs}{self.text}")

    def on_epoch(self, row: dict[str, Any]) -> None:
        self.text = f" · {epoch_text(row, self.training)}"
        if self.tracker is not None:
            self.tracker.log_epoch(row)


def _write_results(
    folder: RunFolder,
    model: nn.Module,
    network: Network,
    experiment: Experiment,
    store: PatchStore,
    progress: Progress,
) -> None:
    metadata = {
        "architecture": json.loads(network.text),
        "input_shape": list(network.input_shape),
        "task": store.info.task,
        "classes": list(store.info.classes),
        "intensity": experiment.intensity.model_dump(mode="json"),
        "best_epoch": progress.best_epoch,
        "store_content": store.content_digest,
        "train_key": progress.key,
        "versions": {"voxray": voxray.__version__, "torch": torch.__version__},
    }
    save_model(folder.model, model, metadata)
    history = [{**row, **_added(store)} for row in progress.history]
    write_parquet(pa.Table.from_pylist(history), folder.history)


def _added(store: PatchStore) -> dict[str, int]:
    """The number of patches that were added to the training split, where it has rounds."""
    return {} if store.added is None else {"hard_negatives": hard_negatives(store).num_rows}
