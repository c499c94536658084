"""The trials of a search on Ray Tune: several at a time, the hopeless ones stopped early.

The book of the search is the truth; what Ray keeps of its own is thrown away.
"""

import ctypes
import gc
import math
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ray
import ray.tune
import torch
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search import Searcher

from voxray.config.experiment import Experiment
from voxray.config.training import TrainingSpec
from voxray.console.progress import OnProgress
from voxray.errors import ConfigError, VoxrayError
from voxray.executors.ray.train import before_last, train_on_ray
from voxray.runs.folder import SearchFolder, run_folder
from voxray.search.plan import trial_experiments
from voxray.search.study import Study

REDUCTION = 2
FIRST_RUNG = 8  # the first comparison comes after this part of the epochs
SETTLED = 2  # epochs; what a network reaches in the first one says little about it
RETRIES = 1  # of a trial whose process was lost
TRIALS_PER_GPU = 2
NESTED_CPU = 0.01  # of the driver of a trial that nests Ray Train
PROBLEM = "problem"  # key of what a trial that failed reports
FOLD = "finished_fold"  # key of what a trial reports between folds
SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a report of a failure has no figure
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is for the command line
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # it prints, however silent it is asked to be
}


def search_on_ray(book: Study, on_progress: OnProgress) -> None:
    """Try networks until the book has as many trials as the search wants.

    Trials run one for each CPU, or as many as share the GPUs, each in a process of its own with one thread. One of
    several workers nests Ray Train; its driver then asks for almost no CPU, because drivers that hold all of them
    would wait for their workers forever.

    Raises
    ------
    ConfigError
        The cluster is too small for one trial.
    """
    os.environ.update(SETTINGS)
    search, training = book.search, book.search.experiment.training
    share, together = cluster_shares(training)
    storage = SearchFolder(search.folder).ray_tune
    shutil.rmtree(storage, ignore_errors=True)
    own = share if training.most_workers == 1 else {"cpu": NESTED_CPU}
    tuner = ray.tune.Tuner(
        ray.tune.with_resources(_try, own),
        tune_config=ray.tune.TuneConfig(
            search_alg=_StudySearcher(book, share),
            scheduler=_Pruner(book),
            num_samples=search.trials,
            max_concurrent_trials=together,
            # A process takes seconds to import torch, small trials not much more.
            reuse_actors=True,
            trial_dirname_creator=lambda trial: f"{trial.config['number']:04d}_{trial.trial_id}",
        ),
        run_config=ray.tune.RunConfig(
            name="search",
            storage_path=str(storage),
            failure_config=ray.tune.FailureConfig(max_failures=RETRIES),
            callbacks=[_TrialLogger(book, on_progress)],
            verbose=0,
        ),
    )
    tuner.fit()
    shutil.rmtree(storage, ignore_errors=True)


def first_rung(epochs: int) -> int:
    """The epoch after which trials are compared for the first time."""
    return min(epochs, max(SETTLED, round(epochs / FIRST_RUNG)))


def cluster_shares(training: TrainingSpec) -> tuple[dict[str, float], int]:
    """`shares` of the connected cluster."""
    resources = ray.cluster_resources()
    return shares(training, int(resources.get("CPU", 0)), int(resources.get("GPU", 0)))


def shares(training: TrainingSpec, cpus: int, gpus: int) -> tuple[dict[str, float], int]:
    """What each worker of a trial takes of a cluster, and how many trials run at a time.

    A GPU is shared by trials of one worker. The workers of one trial want a GPU each: NCCL takes no two ranks on one.

    Raises
    ------
    ConfigError
        The cluster is too small for one trial.
    """
    workers = training.most_workers
    together = cpus // workers
    if not together:
        raise ConfigError("training.workers", f"{workers} workers want a CPU each, the cluster has {cpus}", "Ask fewer")
    if training.device == "cuda" and gpus < workers:
        problem = f"'cuda' is asked for, {workers} workers want a GPU each, the cluster has {gpus}"
        raise ConfigError("training.device", problem, "Set it to 'auto'")
    if training.device == "cpu" or gpus < workers:
        return {"cpu": 1}, together
    if workers > 1:
        return {"cpu": 1, "gpu": 1}, min(together, gpus // workers)
    together = min(together, TRIALS_PER_GPU * gpus)
    # A fraction lies on one GPU: three trials on two of them take halves, not two thirds.
    return {"cpu": 1, "gpu": 1 / math.ceil(together / gpus)}, together


def _try(config: dict[str, Any]) -> None:
    """One trial, fold after fold, in its own process."""
    torch.set_num_threads(1)
    # A trial that is stopped closes its W&B run first. Ray waits two seconds for that, then loses the process.
    os.environ["TUNE_FUNCTION_THREAD_TIMEOUT_S"] = "120"
    experiments = [Experiment.model_validate(each) for each in config["experiments"]]
    try:
        for fold, experiment in enumerate(experiments):
            if not run_folder(experiment).history.exists():
                _train(experiment, config["share"])
            if fold + 1 < len(experiments):
                ray.tune.report({FOLD: fold})
    except (VoxrayError, MemoryError, torch.OutOfMemoryError) as error:
        ray.tune.report({PROBLEM: str(error).strip().splitlines()[0]})
    finally:
        trim_heap()


def _train(experiment: Experiment, share: dict[str, float]) -> None:
    from voxray.training.fit import fit
    from voxray.training.loop import choose_device

    if experiment.training.most_workers > 1:
        from ray.tune.integration.ray_train import TuneReportCallback

        # Together with their driver, workers take no more than their number of CPUs.
        own = {**{key.upper(): amount for key, amount in share.items()}, "CPU": 1 - NESTED_CPU}
        train_on_ray(experiment, _unseen, share=own, callbacks=[TuneReportCallback()])
    else:
        report = before_last(experiment, ray.tune.report)
        fit(experiment, device=choose_device(experiment.training.device), on_progress=_unseen, report=report)


def trim_heap() -> None:
    """Give the system back what a trial has freed: the C library keeps it, and the process lives for many trials."""
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # of glibc alone
        trim(0)


def _unseen(done: int, total: int, text: str) -> None:
    """The terminal shows trials, not their steps."""


class _Pruner(ASHAScheduler):
    """Stops trials within their first fold by halving, and after a fold where they are clearly behind."""

    def __init__(self, book: Study) -> None:
        goal, epochs = book.search.goal, book.search.experiment.training.epochs
        super().__init__(
            time_attr="epoch",
            metric=goal.column,
            mode="max" if goal.sign > 0 else "min",
            max_t=epochs,
            grace_period=first_rung(epochs),
            reduction_factor=REDUCTION,
        )
        self.book = book
        no_controller: Any = None  # the scheduler never looks at it
        for trial in book.trials.values():
            known: Any = SimpleNamespace(trial_id=f"earlier_{trial.number}")
            super().on_trial_add(no_controller, known)
            for row in trial.of_fold(0):
                told = {key: value for key, value in row.items() if value is not None}
                super().on_trial_result(no_controller, known, told)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if FOLD in result:
            behind = self.book.report_fold(trial.config["number"], result[FOLD])
            return TrialScheduler.STOP if behind else TrialScheduler.CONTINUE
        if result.get("fold", 0) > 0:
            return TrialScheduler.CONTINUE
        return str(super().on_trial_result(tune_controller, trial, result))

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Nothing: its epochs are known."""


class _StudySearcher(Searcher):
    """Asks the book what is tried next."""

    def __init__(self, book: Study, share: dict[str, float]) -> None:
        super().__init__()
        self.book, self.share = book, share

    def suggest(self, trial_id: str) -> Any:  # noqa: ARG002
        trial = self.book.ask()
        if trial is None:
            return Searcher.FINISHED
        experiments = [each.model_dump(mode="json") for each in trial_experiments(self.book.search, trial)]
        return {"number": trial.number, "experiments": experiments, "share": self.share}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """The scribe writes it down."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the book is on disk. Ray wants to see a file."""
        Path(checkpoint_path).touch()


class _TrialLogger(ray.tune.Callback):
    """Writes into the book what Ray tells of trials."""

    def __init__(self, book: Study, on_progress: OnProgress) -> None:
        self.book, self.on_progress = book, on_progress
        self.problems: dict[int, str] = {}
        self._show()

    def on_trial_result(self, *_: Any, **told: Any) -> None:
        number, result = told["trial"].config["number"], told["result"]
        if PROBLEM in result:
            self.problems[number] = result[PROBLEM]
        elif "epoch" in result:
            self.book.report(number, result)

    def on_trial_complete(self, *_: Any, **told: Any) -> None:
        number = told["trial"].config["number"]
        if number in self.problems:
            self.book.tell(number, "failed", self.problems[number])
        else:
            self._end_trained(number)
        self._show()

    def _end_trained(self, number: int) -> None:
        done, folds = self.book.count_folds(number)
        if done == folds:
            self.book.tell(number, "finished")
        elif done:
            self.book.tell(number, "pruned", f"clearly behind the best trial after {done} of {folds} folds")
        else:
            reached = len(self.book.trials[number].curve)
            self.book.tell(number, "pruned", f"not in the better half after epoch {reached}")

    def on_trial_error(self, *_: Any, **told: Any) -> None:
        lines = str(told["trial"].get_error() or "").strip().splitlines()
        self.book.tell(told["trial"].config["number"], "failed", lines[-1] if lines else "its process was lost")
        self._show()

    def _show(self) -> None:
        trials, goal = self.book.trials, self.book.search.goal
        best = goal.winner(trials)
        text = f"best {goal.name} {goal.value(best):.4f} (trial {best.name})" if best else ""
        self.on_progress(sum(trial.state != "running" for trial in trials.values()), self.book.search.trials, text)
