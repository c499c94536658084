"""The stage of a search: a finished store and a space → trials, leaderboard, winner and report."""

import hashlib
import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voxray.config.experiment import Experiment
from voxray.config.folds import fold_experiments
from voxray.console.units import count_text
from voxray.errors import ConfigError, WorkError
from voxray.executors.base import Executor
from voxray.runs.folder import RunFolder, SearchFolder
from voxray.runs.status import reported
from voxray.search.constraints import Conditions, Limits
from voxray.search.plan import Method, Minimized, Search, find_starts, parse_metric, patch_spatial_dims
from voxray.search.results import leaderboard, write_leaderboard, write_winner
from voxray.search.space.load import load_space
from voxray.search.space.sampling import Space
from voxray.search.study import DRAWN, Study
from voxray.search.survey import survey_space
from voxray.stages.common import OnStatus
from voxray.stages.ingest import ingest
from voxray.stages.outline import plan_run
from voxray.storage.atomic import write_json
from voxray.storage.locks import locked
from voxray.storage.paths import to_path
from voxray.store.read import PatchStore, open_store
from voxray.training.fit import check_trainable
from voxray.training.throughput import measure_throughput


@dataclass(frozen=True)
class TuneOptions:
    """What the command line says of a search.

    `starts` are architecture files that are tried first; with `folds` a trial's value is the mean over that many.
    """

    space: Path
    out: Path
    metric: str
    trials: int
    seed: int
    method: Method
    limits: Limits
    starts: tuple[Path, ...]
    minimize: Minimized | None = None
    folds: int | None = None


def tune(
    experiment: Experiment, options: TuneOptions, executor: Executor, on_status: OnStatus, command: Sequence[str]
) -> None:
    """Search; a search that was begun in the folder goes on.

    Parameters
    ----------
    experiment : Experiment
    options : TuneOptions
    executor : Executor
    on_status : callable
        Receives one line for each outcome.
    command : sequence of str
        The words that train the experiment, to which what repeats the winner is added.

    Raises
    ------
    ConfigError
        The folder holds another search.
    WorkError
        No trial was finished.
    """
    if options.minimize and options.method == "random":
        raise ConfigError("--minimize", "has no meaning for random search", "Leave it out, or take --search tpe")
    space = load_space(options.space)
    experiment = _shared(experiment, options.folds)
    with locked(options.out), executor.session():
        executor.check_trials(experiment.training)
        stores = [_prepared(fold, executor, on_status) for fold in fold_experiments(experiment)]
        gpu = experiment.training.device != "cpu" and executor.has_gpu()
        search = _search(experiment, options, space, stores[0], on_status, gpu)
        _check_same(search, stores)
        book = Study(search)
        if done := sum(trial.state != "running" for trial in book.trials.values()):
            on_status(f"tune: {done} of {search.trials} trials are finished already, going on")
        with reported(RunFolder(options.out), "tune", "trials", done) as on_progress:
            executor.run_trials(book, on_progress)
        if book.exhausted:
            on_status(f"note: {DRAWN:,} samples in a row were refused or tried already, the search ends")
        _conclude(book, on_status, command)


def _shared(experiment: Experiment, folds: int | None) -> Experiment:
    """The experiment of all trials: they read the same stores, wherever it has them."""
    content = experiment.model_dump(mode="json")
    content["store"]["path"] = str(experiment.store_path)
    if folds is not None:
        content["split"] |= {"folds": folds, "fold": None}
    return Experiment.model_validate(content)


def _prepared(experiment: Experiment, executor: Executor, on_status: OnStatus) -> PatchStore:
    ingest(experiment, executor, on_status)
    store = open_store(experiment.store_path)
    check_trainable(store)
    return store


def preview(experiment: Experiment, options: TuneOptions, output: Callable[[Any], None]) -> None:
    """Say what samples of the space would cost, without training them, and draw it in the search's folder.

    The time of an epoch is that of the training rows at the pace at which the experiment's own network trains here,
    with one thread: small networks and thin layers are slower than that.

    Parameters
    ----------
    experiment : Experiment
    options : TuneOptions
    show : callable
        Is given tables and lines.
    """
    from voxray.report.search.survey_chart import survey_tables, write_survey_chart  # matplotlib takes a second

    experiment = fold_experiments(_shared(experiment, options.folds))[0]
    planned = plan_run(experiment)
    patch_shape, classes = (planned.channels, *experiment.patches.size), len(planned.plan.classes)
    gpu = planned.device.type == "cuda"
    conditions = Conditions(patch_shape, classes, experiment.training, gpu, options.limits)
    survey = survey_space(load_space(options.space), conditions, options.seed)
    name = to_path(experiment.model.architecture).stem
    pace = measure_throughput(experiment, planned.network, classes, planned.cost, planned.device)
    seconds_per_flop = planned.training_rows / pace
    for table in survey_tables(survey, seconds_per_flop):
        output(table)
    output(f"an epoch: {planned.training_rows:,} patches; {name} trains at {count_text(pace)}FLOP/s here")
    output(f"picture: {write_survey_chart(options.out, survey, planned.cost, name, seconds_per_flop)}")


def _search(
    experiment: Experiment, options: TuneOptions, space: Space, store: PatchStore, on_status: OnStatus, gpu: bool
) -> Search:
    own = to_path(experiment.model.architecture)
    patch_shape = store.info.patch_shape
    starts, not_in_space = find_starts(space, experiment, [own, *options.starts], patch_spatial_dims(patch_shape))
    for name in not_in_space:
        on_status(f"note: {name} cannot be expressed in this search space, the search does not start from it")
    return Search(
        folder=options.out,
        experiment=experiment,
        space=space,
        goal=parse_metric(options.metric, store.info, experiment.training.monitor),
        trials=options.trials,
        seed=options.seed,
        method=options.method,
        limits=options.limits,
        starts=starts,
        patch_shape=patch_shape,
        classes=len(store.info.classes),
        gpu=gpu,
        minimize=options.minimize,
    )


def _check_same(search: Search, stores: Sequence[PatchStore]) -> None:
    """Trials that are to be compared share experiment, space, stores and goal."""
    parts = search.experiment.model_dump(
        mode="json", include={"seed", "intensity", "augment", "training", "evaluation"}
    )
    digests = " ".join(store.info.digest for store in stores)
    space = hashlib.sha256(Path(search.space.where).read_bytes()).hexdigest()[:16]
    known = {"experiment": parts, "space": space, "store": digests, "goal": search.goal.name}
    path = SearchFolder(search.folder).search
    if path.exists():
        earlier = json.loads(path.read_text(encoding="utf-8"))
        if changed := [name for name in known if known[name] != earlier.get(name)]:
            problem = f"holds a search that differs in its {' and '.join(changed)}"
            raise ConfigError(str(search.folder), problem, "Choose another --out")
    write_json(path, known)


def _conclude(book: Study, on_status: OnStatus, command: Sequence[str]) -> None:
    from voxray.report.search.page import write_search_report  # matplotlib takes a second
    from voxray.tracking.wandb_run import Tracker

    search, trials, folder = book.search, book.trials, SearchFolder(book.search.folder)
    if not trials:
        problem = "every sampled network exceeds the limits"
        raise WorkError(str(search.folder), problem, f"See the reasons in {folder.refused.name}")
    columns, rows = leaderboard(search.goal, trials)
    write_leaderboard(folder.leaderboard, columns, rows)
    counts = {
        state: sum(trial.state == state for trial in trials.values()) for state in ("finished", "pruned", "failed")
    }
    on_status(
        f"tune: {', '.join(f'{number} {state}' for state, number in counts.items())}, {len(book.refused)} refused"
    )
    winner = search.goal.winner(trials)
    settings = [] if winner is None else write_winner(search.folder, winner)
    words = shlex.join([*command, *(word for each in settings for word in ("--set", each))])
    report = folder.report
    write_search_report(report, search, trials, book.refused, words if winner else "")
    tracking = search.experiment.tracking
    with Tracker(
        search.folder,
        name=f"{search.folder.name}_table",
        project=tracking.project,
        run_id=f"{search.experiment.name}-{search.folder.name}-table",
        mode=tracking.mode,
        config={},
        group=search.folder.name,
    ) as tracker:
        tracker.log_table("trials", columns, rows)
    on_status(f"report: {report}")
    if winner is None:
        raise WorkError(str(search.folder), "no trial was finished", f"See the reasons in {folder.leaderboard.name}")
    value = search.goal.value(winner)
    over = f" ± {search.goal.spread(winner):.4f} over {winner.folds} folds" if winner.folds > 1 else ""
    on_status(f"tune: best {search.goal.name} {value:.4f}{over}, {winner.parameters:,} parameters, trial {winner.name}")
    on_status(f"tune: repeat it with: {words}")
