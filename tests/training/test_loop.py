import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scenes import SMALL_NET, experiment

from voxray.config.experiment import Experiment
from voxray.config.training import ModelSpec, TrainingSpec
from voxray.console.signals import Interrupted, never_stop
from voxray.errors import WorkError
from voxray.executors.local import LocalExecutor
from voxray.stages.ingest import ingest
from voxray.store.read import open_store
from voxray.training.checkpoint import Progress, load_model, save_model
from voxray.training.fit import load_network, make_loader, make_preprocessing
from voxray.training.loop import Watcher, build_optimizer, stops_early, train
from voxray.training.step import Updates
from voxray.training.tasks import build_task

CPU = torch.device("cpu")
NORMED_NET = """[
  {"type": "C", "activation": null, "num_output": 4, "kernel_size": [3, 3, 3], "stride": [2, 2, 2], "bias": false},
  {"type": "N", "normalization": "batch", "activation": "relu"},
  {"type": "R", "activation": "relu", "layers": [
    {"type": "C", "activation": null, "num_output": 6, "kernel_size": [3, 3, 3], "stride": [2, 2, 1], "bias": false},
    {"type": "N", "normalization": "batch"}
  ]},
  {"type": "G"},
  {"type": "D", "drop_out": 10},
  {"type": "T", "activation": "sigmoid"}
]"""


@pytest.fixture(scope="module")
def spec(luna: Path, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    folder = tmp_path_factory.mktemp("loop")
    (folder / "architecture.json").write_text(SMALL_NET)
    spec = experiment(luna, folder / "run", training={"learning_rate": 0.01, "epochs": 4})
    ingest(spec, LocalExecutor(), lambda line: None)
    return spec


def fit(
    spec: Experiment,
    folder: Path,
    watcher: Watcher | None = None,
    stop: Callable[[], bool] = never_stop,
    **training: Any,
) -> tuple[Progress, torch.nn.Module]:
    changed = spec.training.model_copy(update=training)
    spec = spec.model_copy(update={"training": changed})
    store = open_store(spec.store_path)
    network = load_network(Path(spec.model.architecture), store.info.patch_shape, 2)
    model = network.build(2, spec.seed)
    loaders = [make_loader(spec, store, split, CPU) for split in ("train", "val")]
    preprocessing = make_preprocessing(spec, network.spatial_dims, CPU)
    task = build_task(spec, store, network.layers, CPU)
    progress = train(
        model, loaders[0], loaders[1], changed, preprocessing, task, folder, key="k", watcher=watcher, stop=stop
    )
    return progress, model


def lasting(history: list[dict[str, Any]]) -> str:
    """History without what a clock said; text, because NaN is not equal to itself."""
    clocks = ("seconds", "data_wait_share", "patches_per_s")
    return json.dumps([{key: value for key, value in row.items() if key not in clocks} for row in history])


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_training_learns_and_repeats_itself_exactly(spec: Experiment, tmp_path: Path) -> None:
    first, model = fit(spec, tmp_path / "a")
    again, twin = fit(spec, tmp_path / "b")
    assert lasting(first.history) == lasting(again.history)
    assert same(model, twin)
    assert first.history[-1]["train_loss"] < first.history[0]["train_loss"]
    assert 0 <= first.history[0]["data_wait_share"] <= 1


def test_training_accuracy_is_that_of_the_training_patches(spec: Experiment, tmp_path: Path) -> None:
    (tmp_path / "net.json").write_text(SMALL_NET.replace(', "drop_out": 10', ""))
    spec = spec.model_copy(update={"model": ModelSpec(architecture=str(tmp_path / "net.json"))})
    progress, model = fit(spec, tmp_path, learning_rate=1e-12, epochs=1)
    store = open_store(spec.store_path)
    network = load_network(Path(spec.model.architecture), store.info.patch_shape, 2)
    loader, preprocessing = make_loader(spec, store, "train", CPU), make_preprocessing(spec, network.spatial_dims, CPU)
    expected = build_task(spec, store, network.layers, CPU).validate(model, loader, preprocessing)
    assert progress.history[0]["train_accuracy"] == expected["val_accuracy"]
    assert 0 < expected["val_accuracy"] < 1


def stop_after(epochs: int) -> Callable[[dict[str, Any]], None]:
    def on_epoch(row: dict[str, Any]) -> None:
        if row["epoch"] == epochs:
            raise KeyboardInterrupt

    return on_epoch


@pytest.mark.parametrize(("net", "average"), [(SMALL_NET, 0.0), (SMALL_NET, 0.9), (NORMED_NET, 0.0), (NORMED_NET, 0.9)])
def test_an_interrupted_training_ends_like_an_undisturbed_one(
    spec: Experiment, tmp_path: Path, net: str, average: float
) -> None:
    (tmp_path / "net.json").write_text(net)
    spec = spec.model_copy(update={"model": ModelSpec(architecture=str(tmp_path / "net.json"))})
    whole, model = fit(spec, tmp_path / "a", ema_decay=average)
    with pytest.raises(KeyboardInterrupt):
        fit(spec, tmp_path / "b", Watcher(on_epoch=stop_after(2)), ema_decay=average)
    seen: list[int] = []
    watcher = Watcher(on_epoch=lambda row: seen.append(row["epoch"]))
    resumed, twin = fit(spec, tmp_path / "b", watcher, ema_decay=average)
    assert seen == [3, 4]
    assert lasting(resumed.history) == lasting(whole.history)
    assert same(model, twin)


@pytest.mark.parametrize(("net", "average"), [(SMALL_NET, 0.9), (NORMED_NET, 0.0)])
def test_a_training_that_is_asked_to_stop_goes_on_from_its_step(
    spec: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, net: str, average: float
) -> None:
    monkeypatch.setattr("voxray.training.loop.STOP_CHECK_S", 0.0)
    (tmp_path / "net.json").write_text(net)
    spec = spec.model_copy(update={"model": ModelSpec(architecture=str(tmp_path / "net.json"))})
    whole, model = fit(spec, tmp_path / "a", ema_decay=average)
    seen: list[tuple[int, int, int]] = []
    watcher = Watcher(on_step=lambda *at: seen.append(at))
    steps = 0
    for stops in (2, 3, 4):
        asked = iter([False] * stops + [True])
        with pytest.raises(Interrupted):
            fit(spec, tmp_path / "b", watcher, lambda asked=asked: next(asked), ema_decay=average)
        assert len(seen) > steps
        steps = len(seen)
    assert seen[-1][1] < seen[-1][2], "it was not stopped within an epoch"
    resumed, twin = fit(spec, tmp_path / "b", watcher, ema_decay=average)
    assert len(seen) == len(set(seen)) == 4 * seen[-1][2], "a step was done twice, or never"
    assert lasting(resumed.history) == lasting(whole.history)
    assert same(model, twin)


def test_accumulation_equals_the_larger_batch_also_where_the_last_update_has_fewer_steps(
    spec: Experiment, tmp_path: Path
) -> None:
    (tmp_path / "net.json").write_text(SMALL_NET.replace(', "drop_out": 10', ""))
    spec = spec.model_copy(update={"model": ModelSpec(architecture=str(tmp_path / "net.json"))})
    settings: dict[str, Any] = {"optimizer": "sgd", "epochs": 2, "schedule": "polynomial", "gradient_clip_norm": 0.5}
    patches = len(open_store(spec.store_path).rows("train"))
    assert patches % 20, "the last update has all of its patches; choose another batch size"
    whole, model = fit(spec, tmp_path / "a", batch_size=20, **settings)
    parts, twin = fit(spec, tmp_path / "b", batch_size=4, accumulate_steps=5, **settings)
    losses = [[row["train_loss"] for row in progress.history] for progress in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_training_stops_only_between_updates_and_ends_alike(
    spec: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxray.training.loop.STOP_CHECK_S", 0.0)
    settings: dict[str, Any] = {"batch_size": 4, "accumulate_steps": 3, "epochs": 2}
    whole, model = fit(spec, tmp_path / "a", **settings)
    seen: list[tuple[int, int, int]] = []
    with pytest.raises(Interrupted):
        fit(spec, tmp_path / "b", Watcher(on_step=lambda *at: seen.append(at)), lambda: True, **settings)
    assert len(seen) == 3
    resumed, twin = fit(spec, tmp_path / "b", **settings)
    assert lasting(resumed.history) == lasting(whole.history)
    assert same(model, twin)


def test_gradients_are_clipped_to_the_norm_over_all_weights() -> None:
    model = torch.nn.Linear(3, 2)
    before = torch.cat([each.detach().flatten().clone() for each in model.parameters()])
    optimizer = build_optimizer(model, TrainingSpec(optimizer="sgd", momentum=0, learning_rate=1.0, weight_decay=0))
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 5.0)
    Updates(lambda at, steps: 1.0, clip_norm=2.0).apply(model, optimizer)
    after = torch.cat([each.detach().flatten() for each in model.parameters()])
    assert float((after - before).norm()) == pytest.approx(2, rel=1e-4)


def test_what_is_kept_is_the_running_mean_of_the_weights(
    spec: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []

    def build_watched(model: torch.nn.Module, spec: TrainingSpec) -> torch.optim.Optimizer:
        optimizer = build_optimizer(model, spec)
        weight = next(model.parameters())
        optimizer.register_step_post_hook(lambda *_: seen.append(weight.detach().clone()))
        return optimizer

    monkeypatch.setattr("voxray.training.loop.build_optimizer", build_watched)
    _, model = fit(spec, tmp_path, epochs=1, ema_decay=0.75)
    mean = seen[0]
    for weight in seen[1:]:
        mean = 0.75 * mean + 0.25 * weight
    assert len(seen) > 2
    torch.testing.assert_close(next(model.parameters()), mean)


def test_the_best_epoch_is_kept_and_not_the_last(spec: Experiment, tmp_path: Path) -> None:
    progress, model = fit(spec, tmp_path, learning_rate=0.3, epochs=5)
    losses = [row["val_loss"] for row in progress.history]
    assert progress.best_epoch == 1 + losses.index(min(losses))
    _, expected = fit(spec, tmp_path / "short", learning_rate=0.3, epochs=progress.best_epoch)
    assert same(model, expected)


@pytest.mark.parametrize("monitor", ["roc_auc", "accuracy", "balanced_accuracy"])
def test_training_stops_early_when_nothing_improves(spec: Experiment, tmp_path: Path, monitor: str) -> None:
    progress, _ = fit(spec, tmp_path, learning_rate=1e-12, epochs=20, early_stopping_epochs=2, monitor=monitor)
    assert progress.epoch == progress.best_epoch + 2
    assert progress.best_value == progress.history[progress.best_epoch - 1][f"val_{monitor}"]


def test_early_stopping_may_watch_another_metric_than_the_kept_epoch(spec: Experiment, tmp_path: Path) -> None:
    settings = {"early_stopping_epochs": 2, "early_stopping_monitor": "accuracy", "monitor": "loss"}
    progress, _ = fit(spec, tmp_path, epochs=12, **settings)
    accuracies, losses = ([row[f"val_{name}"] for row in progress.history] for name in ("accuracy", "loss"))
    stalled = accuracies.index(max(accuracies)) + 2
    assert progress.epoch == len(accuracies) == min(stalled + 1, 12) < 12
    assert progress.best_epoch == losses.index(min(losses)) + 1 > 1


@given(
    st.lists(st.sampled_from([math.nan, 0.1, 0.2, 0.3, 0.4]), max_size=12),
    st.integers(1, 4),
    st.sampled_from(["accuracy", "loss"]),
)
def test_training_stops_where_keras_stops(values: list[float], patience: int, metric: str) -> None:
    higher_is_better = metric == "accuracy"
    spec = TrainingSpec(early_stopping_epochs=patience, early_stopping_monitor=metric, monitor="roc_auc")
    history = [{"epoch": number, f"val_{metric}": value} for number, value in enumerate(values, 1)]
    # As keras.callbacks.EarlyStopping counts.
    best, wait, stopped = -math.inf if higher_is_better else math.inf, 0, None
    for number, value in enumerate(values, 1):
        wait += 1
        if value > best if higher_is_better else value < best:
            best, wait = value, 0
        if wait >= patience and stopped is None:
            stopped = number
    first = next((number for number in range(1, len(values) + 1) if stops_early(history[:number], spec)), None)
    assert first == stopped


def test_running_statistics_reach_the_model_file_and_change_what_it_predicts(spec: Experiment, tmp_path: Path) -> None:
    (tmp_path / "net.json").write_text(NORMED_NET)
    spec = spec.model_copy(update={"model": ModelSpec(architecture=str(tmp_path / "net.json"))})
    _, model = fit(spec, tmp_path / "a")
    save_model(tmp_path / "model.safetensors", model, {})
    shape = open_store(spec.store_path).info.patch_shape
    fresh = load_network(tmp_path / "net.json", shape, 2).build(2, 1).eval()
    images = torch.rand(3, *shape)
    load_model(tmp_path / "model.safetensors", fresh)
    assert torch.equal(fresh(images), model.eval()(images))
    for module in fresh.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.reset_running_stats()
    assert not torch.allclose(fresh(images), model(images), atol=1e-3)


def test_a_loss_that_explodes_stops_the_training_with_advice(spec: Experiment, tmp_path: Path) -> None:
    with pytest.raises(WorkError, match=r"epoch 1: the training loss is (nan|inf).*Lower training\.learning_rate"):
        fit(spec, tmp_path, optimizer="sgd", learning_rate=1e20)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_computes_in_bfloat16_and_comes_to_a_similar_loss(spec: Experiment, tmp_path: Path) -> None:
    store = open_store(spec.store_path)
    network = load_network(Path(spec.model.architecture), store.info.patch_shape, 2)
    gpu = torch.device("cuda")
    loaders = [make_loader(spec, store, split, gpu) for split in ("train", "val")]
    preprocessing = make_preprocessing(spec, network.spatial_dims, gpu)
    model = network.build(2, spec.seed).to(gpu)
    task = build_task(spec, store, network.layers, gpu)
    progress = train(model, loaders[0], loaders[1], spec.training, preprocessing, task, tmp_path, key="k")
    on_cpu, _ = fit(spec, tmp_path / "cpu")
    assert progress.history[-1]["train_loss"] == pytest.approx(on_cpu.history[-1]["train_loss"], rel=0.2)
