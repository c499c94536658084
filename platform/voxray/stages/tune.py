"""Search: from a finished store and a space to trials, a leaderboard, the best trial and a report."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voxray.config.differences import differences
from voxray.config.experiment import Experiment
from voxray.config.folds import fold_experiments
from voxray.console.units import count_text
from voxray.datasets.layouts import read_manifest
from voxray.errors import ConfigError, StoreError
from voxray.executors.base import Executor
from voxray.patches.subsets import find_folds
from voxray.runs.folder import RunFolder, SearchFolder
from voxray.runs.records import read_state
from voxray.runs.status import reported
from voxray.search.constraints import Conditions, Limits
from voxray.search.costs import CostName
from voxray.search.plan import Method, Scheduler, Search, find_starts, parse_metric, patch_spatial_dims
from voxray.search.space.load import load_space
from voxray.search.space.sampling import Space
from voxray.search.study import DRAWN, Study
from voxray.search.survey import survey_space
from voxray.stages.common import OnStatus
from voxray.stages.ingest import ingest
from voxray.stages.outline import plan_run
from voxray.stages.search_results import write_results
from voxray.storage.atomic import write_json
from voxray.storage.paths import to_path
from voxray.store.read import PatchStore, open_store
from voxray.training.fit import check_trainable
from voxray.training.throughput import measure_throughput


@dataclass(frozen=True)
class TuneOptions:
    """Options of a search.

    Attributes
    ----------
    space, out : Path
        File of the space, folder of the search.
    metric : str, optional
        Of the validation split, such as ``val/roc_auc``; by default the experiment's ``training.monitor``.
    trials, seed : int
    method : {"tpe", "random"}
    limits : Limits
    starts : tuple of Path
        Architectures to train first.
    minimize : {"parameters", "memory", "flops", "seconds"}, optional
        The second objective.
    prefer : {"parameters", "memory", "flops", "seconds"}, optional
        What the chosen network has the least of, among those whose metric is within chance of the best.
    scheduler : {"asha", "median", "none"}
        The rule by which poor trials are pruned.
    folds : int, optional
        Folds of a trial, whose value is the mean over them.
    """

    space: Path
    out: Path
    metric: str | None
    trials: int
    seed: int
    method: Method
    limits: Limits
    starts: tuple[Path, ...]
    minimize: CostName | None = None
    prefer: CostName | None = None
    scheduler: Scheduler = "asha"
    folds: int | None = None


def tune(
    experiment: Experiment, options: TuneOptions, executor: Executor, on_status: OnStatus, command: Sequence[str]
) -> None:
    """Search the space for the best metric; resumes the search of the folder.

    Parameters
    ----------
    experiment : Experiment
    options : TuneOptions
    executor : Executor
    on_status : callable
        Receives one line for each outcome.
    command : sequence of str
        Trains the experiment; with the settings of the best trial it is printed as the command that repeats it.

    Raises
    ------
    ConfigError
        The folder contains another search, or trials cannot run here.
    WorkError
        No trial finished.
    """
    if options.minimize and options.method == "random":
        raise ConfigError("--minimize", "random search has one objective, got two", "Remove it, or use --search tpe")
    if experiment.detection.rounds > 1:
        raise ConfigError("detection.rounds", "the trials of a search have one round, got 2", "Set it to 1")
    space = load_space(options.space)
    experiment = _with_shared_store(experiment, options.folds)
    with SearchFolder(options.out).locked(), executor.session():
        executor.check_trials(experiment.training)
        stores = [_prepare_store(fold, executor, on_status) for fold in fold_experiments(experiment)]
        gpu = experiment.training.device != "cpu" and executor.has_gpu()
        search = _search(experiment, options, space, stores[0], on_status, gpu)
        _check_same(search, stores)
        study = Study(search)
        for problem in study.removed:
            on_status(f"note: {problem}, the trial is removed")
        if done := sum(trial.state != "running" for trial in study.trials.values()):
            on_status(f"tune: {done} of {search.trials} trials are finished, resuming")
        with reported(RunFolder(options.out), "tune", "trials", done) as on_progress:
            executor.run_trials(study, on_progress)
        if study.exhausted:
            on_status(f"note: {DRAWN:,} samples in a row were rejected or trained before, the search ends")
        write_results(study, executor, on_status, command)


def _with_shared_store(experiment: Experiment, folds: int | None) -> Experiment:
    """The experiment of all trials, which read the same stores."""
    content = experiment.model_dump(mode="json")
    content["store"]["path"] = str(experiment.store_path)
    if folds is not None:
        content["split"] |= {"folds": folds, "fold": None}
    shared = Experiment.model_validate(content)
    return find_folds(shared, read_manifest(shared.data)) if shared.split.by_subset else shared


def _prepare_store(experiment: Experiment, executor: Executor, on_status: OnStatus) -> PatchStore:
    ingest(experiment, executor, on_status)
    store = open_store(experiment.store_path)
    check_trainable(store)
    return store


def preview(experiment: Experiment, options: TuneOptions, output: Callable[[Any], None]) -> None:
    """Print the cost of samples of the space, without training them, and draw a chart in the search's folder.

    The time of an epoch assumes the throughput at which the experiment's own network trains here, with one thread:
    small networks and thin layers are slower.

    Parameters
    ----------
    experiment : Experiment
    options : TuneOptions
    output : callable
        Receives tables and lines.
    """
    from voxray.reporting.search.survey_chart import survey_tables, write_survey_chart  # matplotlib takes a second

    experiment = fold_experiments(_with_shared_store(experiment, options.folds))[0]
    planned = plan_run(experiment)
    space = load_space(options.space)
    parse_metric(options.metric, experiment, space, planned.plan.task, planned.plan.classes)
    patch_shape, classes = (planned.channels, *experiment.input_size), len(planned.plan.classes)
    gpu = planned.device.type == "cuda"
    conditions = Conditions(patch_shape, classes, experiment.training, gpu, options.limits)
    survey = survey_space(space, conditions, options.seed)
    name = to_path(experiment.model.architecture).stem
    flops_per_s = measure_throughput(experiment, planned.network, classes, planned.cost, planned.device)
    seconds_per_flop = planned.training_patches / flops_per_s
    for table in survey_tables(survey, seconds_per_flop):
        output(table)
    output(f"an epoch: {planned.training_patches:,} patches; {name} trains at {count_text(flops_per_s)}FLOP/s here")
    output(f"picture: {write_survey_chart(options.out, survey, planned.cost, name, seconds_per_flop)}")


def _search(
    experiment: Experiment, options: TuneOptions, space: Space, store: PatchStore, on_status: OnStatus, gpu: bool
) -> Search:
    patch_shape = (store.info.channels, *experiment.input_size)
    paths = [to_path(experiment.model.architecture), *options.starts]
    starts, not_in_space = find_starts(space, experiment, paths, patch_spatial_dims(patch_shape))
    for name in not_in_space:
        on_status(f"note: {name} cannot be expressed in this search space, the search does not start from it")
    return Search(
        folder=options.out,
        experiment=experiment,
        space=space,
        goal=parse_metric(options.metric, experiment, space, store.info.task, store.info.classes),
        trials=options.trials,
        seed=options.seed,
        method=options.method,
        limits=options.limits,
        starts=starts,
        patch_shape=patch_shape,
        classes=len(store.info.classes),
        gpu=gpu,
        minimize=options.minimize,
        prefer=options.prefer,
        scheduler=options.scheduler,
    )


def _check_same(search: Search, stores: Sequence[PatchStore]) -> None:
    """Raise ConfigError where earlier trials in the folder have another experiment, space, store or goal."""
    parts = search.experiment.model_dump(
        mode="json", include={"seed", "intensity", "augment", "training", "evaluation"}
    )
    digests = " ".join(f"{store.info.digest} {store.content_digest}" for store in stores)
    space = hashlib.sha256(Path(search.space.where).read_bytes()).hexdigest()[:16]
    shared = {"experiment": parts, "space": space, "store": digests, "goal": search.goal.name}
    path = SearchFolder(search.folder).search
    if path.exists():
        earlier = read_state(path)
        if not isinstance(earlier.get("experiment"), dict):
            remedy = "Delete it if the trials of this folder belong to the same search, else choose another --out"
            raise StoreError(str(path), "cannot be read", remedy)
        if changed := list(_changes(earlier, shared)):
            raise ConfigError(
                str(search.folder), f"contains another search: {'; '.join(changed)}", "Choose another --out"
            )
    write_json(path, shared)


def _changes(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What differs between two searches: settings of the experiment by key path, and the rest by name."""
    yield from differences(earlier.get("experiment", {}), now["experiment"])
    if earlier.get("space") != now["space"]:
        yield "the file of the space has changed"
    if earlier.get("store") != now["store"]:
        yield "its trials read another store"
    yield from differences({"--metric": earlier.get("goal")}, {"--metric": now["goal"]})
