"""All stages of an experiment, and all folds."""

from collections.abc import Sequence
from contextlib import ExitStack, nullcontext

from voxray.config.experiment import Experiment
from voxray.config.folds import fold_experiments
from voxray.config.rounds import first_round
from voxray.datasets.layouts import read_manifest
from voxray.datasets.manifest import class_notes
from voxray.errors import DataError, NotReadyError, WorkError
from voxray.evaluation.folds import join_folds
from voxray.executors.base import Executor
from voxray.inference.proposing import check_proposing
from voxray.patches.plan import empty_classes
from voxray.patches.planned import plan_experiment
from voxray.patches.subsets import find_folds
from voxray.runs.folder import run_folder
from voxray.runs.keys import digest, evaluate_key
from voxray.runs.status import heartbeat
from voxray.stages.common import OnStatus, echo_metrics, is_finished
from voxray.stages.evaluate import evaluate
from voxray.stages.ingest import ingest
from voxray.stages.outline import RunPlan, plan_run
from voxray.stages.report import report
from voxray.stages.train import need_training, train
from voxray.storage.paths import exists, to_path
from voxray.store.added import open_trained_store
from voxray.store.layout import INDEX_FILE
from voxray.training.memory_check import check_memory


def run(experiment: Experiment, executor: Executor, on_status: OnStatus) -> None:
    """Ingest, train, evaluate and report; with folds, for each fold, and then join the metrics of all folds.

    Raises
    ------
    DataError
        A class has no patch in the training or validation split.
    """
    run_folder(experiment).check_vacant(to_path(experiment.model.architecture))
    if experiment.split.is_cross_validation:
        _cross_validate(experiment, executor, on_status)
        return
    planned = plan_run(experiment)
    _check_classes(experiment, planned, on_status)
    if not executor.is_remote:
        check_memory(planned.cost, experiment.training.batch_size, planned.device)
    with nullcontext() if _is_all_finished(experiment) else executor.session():
        ingest(experiment, executor, on_status, planned=planned)
        train(experiment, executor, on_status)
        evaluate(experiment, executor, on_status)
    report(experiment, on_status)


def _check_classes(experiment: Experiment, planned: RunPlan, on_status: OnStatus) -> None:
    """Raise DataError where a class has no patch to learn from, after the notes that may tell why."""
    problems = empty_classes(planned.plan, splits=("train", "val"))
    if not problems:
        return
    for note in planned.manifest.notes:
        on_status(f"note: {note}")
    doubtful = "; ".join(class_notes(planned.manifest))
    labels = f"Correct the labels, if they are mistyped ({doubtful}). Else add" if doubtful else "Add"
    remedy = f"{labels} scans, change the seed, or increase the shares in [split]"
    raise DataError(experiment.data.root, problems[0], remedy)


def _cross_validate(experiment: Experiment, executor: Executor, on_status: OnStatus) -> None:
    if experiment.split.by_subset:
        experiment = find_folds(experiment, read_manifest(experiment.data))
    folds = fold_experiments(experiment)
    _check_proposing(folds)
    with (
        heartbeat(run_folder(experiment), "folds", "folds") as on_progress,
        nullcontext() if all(map(_is_all_finished, folds)) else executor.session(),
    ):
        for number, fold in enumerate(folds):
            subset = f": subset{fold.split.fold}" if fold.split.by_subset else ""
            on_status(f"fold {number} of {len(folds)}{subset}")
            run(fold, executor, on_status)
            on_progress(number + 1, len(folds), "")
        _join(experiment, folds, on_status)


def _check_proposing(folds: Sequence[Experiment]) -> None:
    """Check the networks that propose candidates for all folds before the first one is trained."""
    if folds[0].detection.model is not None:
        manifest = read_manifest(folds[0].data)
        for fold in folds:
            check_proposing(fold, plan_experiment(fold, manifest)[1].table)


def _join(experiment: Experiment, folds: Sequence[Experiment], on_status: OnStatus) -> None:
    """Join the metrics of finished folds, while no other process can train them again."""
    from voxray.reporting.run.fold_page import write_fold_report

    folder = run_folder(experiment)
    with ExitStack() as locks:
        for fold in folds:
            locks.enter_context(run_folder(fold).locked())
            _need_finished(fold)
        if experiment.detection.rounds > 1:
            join_folds(first_round(experiment), [first_round(fold) for fold in folds])
        metrics = join_folds(experiment, folds)
        echo_metrics(metrics, experiment.training.monitor, on_status)
        write_fold_report(folder.report, experiment, metrics)
        keys = {fold.name: record.key for fold in folds if (record := run_folder(fold).finished("evaluate"))}
        tables = filter(exists, folder.split_tables("test"))
        folder.mark_finished("folds", digest(keys), 0, (folder.experiment, folder.metrics, *tables))
    on_status(f"report: {folder.report}")


def _need_finished(fold: Experiment) -> None:
    """Raise WorkError where another process has trained a fold again since this one evaluated it."""
    if not _is_all_finished(fold):
        problem = "another process has changed it meanwhile"
        raise WorkError(str(run_folder(fold).path), problem, "Re-run the same command")


def _is_all_finished(experiment: Experiment) -> bool:
    """Whether no stage is left that needs an executor."""
    if not exists(experiment.store_path / INDEX_FILE):
        return False
    if experiment.detection.rounds > 1 and not _is_all_finished(first_round(experiment)):
        return False
    folder = run_folder(experiment)
    try:
        trained = need_training(experiment, folder, open_trained_store(experiment))
    except NotReadyError:
        return False
    return is_finished(folder, "evaluate", evaluate_key(experiment, trained))
