"""All stages of an experiment, and all folds."""

import os

from voxray.config.experiment import Experiment
from voxray.config.folds import fold_experiments
from voxray.errors import DataError
from voxray.evaluation.folds import join_folds
from voxray.patches.plan import empty_classes
from voxray.runs.folder import evaluate_key, run_folder
from voxray.runs.status import heartbeat
from voxray.stages.common import OnStatus, _cluster, _is_finished, _say_metrics
from voxray.stages.evaluate import evaluate
from voxray.stages.ingest import ingest
from voxray.stages.outline import plan_run
from voxray.stages.report import report
from voxray.stages.train import current_train_key, train
from voxray.storage.paths import exists
from voxray.store.layout import INDEX_FILE
from voxray.training.memory_check import check_memory


def run(experiment: Experiment, on_status: OnStatus, *, with_ray: bool = True) -> None:
    """All stages; with folds, those of each fold and then the figures of all of them."""
    if experiment.split.folds is not None and experiment.split.fold is None:
        _cross_validate(experiment, on_status, with_ray)
        return
    planned = plan_run(experiment)
    for problem in empty_classes(planned.plan, splits=("train", "val")):
        remedy = "Give more scans, another seed, or larger shares in [split]"
        raise DataError(experiment.data.root, problem, remedy)
    if not (with_ray and os.environ.get("RAY_ADDRESS")):  # on a cluster it is another machine that trains
        check_memory(planned.cost, experiment.training.batch_size, planned.device)
    with _cluster(with_ray and not _is_all_finished(experiment)):
        ingest(experiment, on_status, with_ray=with_ray, planned=planned)
        train(experiment, on_status, with_ray=with_ray)
        evaluate(experiment, on_status, with_ray=with_ray)
    report(experiment, on_status)


def _cross_validate(experiment: Experiment, on_status: OnStatus, with_ray: bool) -> None:
    from voxray.report.run.fold_page import write_fold_report

    folds = fold_experiments(experiment)
    with (
        heartbeat(run_folder(experiment), "folds", "folds") as on_progress,
        _cluster(with_ray and not all(map(_is_all_finished, folds))),
    ):
        for number, fold in enumerate(folds):
            on_status(f"fold {number} of {len(folds)}")
            run(fold, on_status, with_ray=with_ray)
            on_progress(number + 1, len(folds), "")
        metrics = join_folds(experiment, folds)
    _say_metrics(metrics, on_status)
    path = run_folder(experiment).report
    write_fold_report(path, experiment, metrics)
    on_status(f"report: {path}")


def _is_all_finished(experiment: Experiment) -> bool:
    """Whether nothing is left that needs a cluster."""
    if not exists(experiment.store_path / INDEX_FILE):
        return False
    folder, trained = run_folder(experiment), current_train_key(experiment)
    return _is_finished(folder, "train", trained) and _is_finished(
        folder, "evaluate", evaluate_key(experiment, trained)
    )
