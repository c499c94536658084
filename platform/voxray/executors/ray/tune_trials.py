"""The trials of a search on Ray Tune: several at a time, poor ones pruned.

The study holds the state of the search; the state of Ray Tune is deleted.
"""

import ctypes
import gc
import math
import os
import shutil
from pathlib import Path
from typing import Any

import ray
import ray.tune
import torch
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.search import Searcher

from voxray.config.experiment import Experiment
from voxray.config.training import TrainingSpec
from voxray.console.failures import describe
from voxray.console.progress import OnProgress
from voxray.errors import ConfigError
from voxray.executors.ray.pruner import FOLD, REASONS, Pruner
from voxray.executors.ray.train_workers import before_last, train_on_ray
from voxray.runs.folder import SearchFolder
from voxray.search.plan import trial_experiments
from voxray.search.study import Study
from voxray.search.trials import fold_history

MAX_FAILURES = 1  # of the process of a trial
TRIALS_PER_GPU = 2
NESTED_CPU = 0.01  # of the driver of a trial that nests Ray Train
PROBLEM = "problem"  # key of the report of a failed trial
SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # the report of a failure has no metric
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the command line handles Ctrl-C
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # it prints in spite of verbose=0
}


def search_on_ray(study: Study, on_progress: OnProgress) -> None:
    """Run trials until the study has as many as the search sets.

    One trial runs on each CPU, or as many as share the GPUs, each in its own process with one thread. A trial of
    several workers nests Ray Train; its driver requests almost no CPU, because drivers that hold all CPUs would wait
    for their workers forever.

    Raises
    ------
    ConfigError
        The cluster is too small for one trial.
    """
    os.environ.update(SETTINGS)
    search, training = study.search, study.search.experiment.training
    resources, concurrent = cluster_resources(training)
    storage = SearchFolder(search.folder).ray_tune
    shutil.rmtree(storage, ignore_errors=True)
    of_driver = resources if training.most_workers == 1 else {"cpu": NESTED_CPU}
    tuner = ray.tune.Tuner(
        ray.tune.with_resources(_run_trial, of_driver),
        tune_config=ray.tune.TuneConfig(
            search_alg=_StudySearcher(study, resources),
            scheduler=Pruner(study),
            num_samples=search.trials,
            max_concurrent_trials=concurrent,
            # A process takes seconds to import torch, a small trial hardly longer.
            reuse_actors=True,
            trial_dirname_creator=lambda trial: f"{trial.config['number']:04d}_{trial.trial_id}",
        ),
        run_config=ray.tune.RunConfig(
            name="search",
            storage_path=str(storage),
            failure_config=ray.tune.FailureConfig(max_failures=MAX_FAILURES),
            callbacks=[_TrialLogger(study, on_progress)],
            verbose=0,
        ),
    )
    tuner.fit()
    shutil.rmtree(storage, ignore_errors=True)


def cluster_resources(training: TrainingSpec) -> tuple[dict[str, float], int]:
    """`trial_resources` on the connected cluster."""
    available = ray.cluster_resources()
    return trial_resources(training, int(available.get("CPU", 0)), int(available.get("GPU", 0)))


def trial_resources(training: TrainingSpec, cpus: int, gpus: int) -> tuple[dict[str, float], int]:
    """Resources of each worker of a trial, and the number of trials that run at a time.

    Trials of one worker share a GPU. The workers of one trial need one GPU each: NCCL allows one rank on a GPU.

    Raises
    ------
    ConfigError
        The cluster is too small for one trial.
    """
    workers = training.most_workers
    concurrent = cpus // workers
    if not concurrent:
        problem = f"{workers} workers need one CPU each, the cluster has {cpus}"
        raise ConfigError("training.workers", problem, "Reduce training.workers")
    if training.device == "cuda" and gpus < workers:
        problem = f"{workers} workers on 'cuda' need one GPU each, the cluster has {gpus}"
        raise ConfigError("training.device", problem, "Set training.device to 'auto'")
    if training.device == "cpu" or gpus < workers:
        return {"cpu": 1}, concurrent
    if workers > 1:
        return {"cpu": 1, "gpu": 1}, min(concurrent, gpus // workers)
    concurrent = min(concurrent, TRIALS_PER_GPU * gpus)
    # A fraction does not span GPUs: three trials on two of them take halves, not two thirds.
    return {"cpu": 1, "gpu": 1 / math.ceil(concurrent / gpus)}, concurrent


def _run_trial(config: dict[str, Any]) -> None:
    """Train one trial, fold after fold, in its own process."""
    torch.set_num_threads(1)
    # A pruned trial closes its W&B run first. By default Ray waits two seconds for that, then ends the process.
    os.environ["TUNE_FUNCTION_THREAD_TIMEOUT_S"] = "120"
    experiments = [Experiment.model_validate(content) for content in config["experiments"]]
    try:
        for fold, experiment in enumerate(experiments):
            if fold_history(experiment) is None:
                _train_fold(experiment, config["resources"])
            if fold + 1 < len(experiments):
                ray.tune.report({FOLD: fold})
    except Exception as error:  # noqa: BLE001  a network that fails is a result of the search
        ray.tune.report({PROBLEM: describe(error)})
    finally:
        trim_heap()


def _train_fold(experiment: Experiment, resources: dict[str, float]) -> None:
    from voxray.training.fit import fit
    from voxray.training.loop import choose_device

    if experiment.training.most_workers > 1:
        from ray.tune.integration.ray_train import TuneReportCallback

        # Workers and driver together take as many CPUs as there are workers.
        of_worker = {**{key.upper(): amount for key, amount in resources.items()}, "CPU": 1 - NESTED_CPU}
        train_on_ray(experiment, _ignore_progress, resources=of_worker, callbacks=[TuneReportCallback()])
    else:
        report = before_last(experiment, ray.tune.report)
        fit(experiment, device=choose_device(experiment.training.device), on_progress=_ignore_progress, report=report)


def trim_heap() -> None:
    """Return freed memory to the system: the C library keeps it, and the process runs many trials."""
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # of glibc only
        trim(0)


def _ignore_progress(done: int, total: int, text: str) -> None:
    """The terminal shows trials, not their steps."""


class _StudySearcher(Searcher):
    """Asks the study for the next trial."""

    def __init__(self, study: Study, resources: dict[str, float]) -> None:
        super().__init__()
        self.study, self.resources = study, resources

    def suggest(self, trial_id: str) -> Any:  # noqa: ARG002
        trial = self.study.ask()
        if trial is None:
            return Searcher.FINISHED
        experiments = [fold.model_dump(mode="json") for fold in trial_experiments(self.study.search, trial)]
        return {"number": trial.number, "experiments": experiments, "resources": self.resources}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Nothing: `_TrialLogger` records it."""

    def save(self, checkpoint_path: str) -> None:
        """An empty file, which Ray expects: the study is on disk."""
        Path(checkpoint_path).touch()


class _TrialLogger(TrialProgressCallback):
    """Reports to the study what Ray Tune calls back, in place of its own class, which prints in spite of verbose=0."""

    def __init__(self, study: Study, on_progress: OnProgress) -> None:
        super().__init__()
        self.study, self.on_progress = study, on_progress
        self.problems: dict[int, str] = {}
        self._report()

    def on_trial_result(self, *_: Any, **event: Any) -> None:
        number, result = event["trial"].config["number"], event["result"]
        if PROBLEM in result:
            self.problems[number] = result[PROBLEM]
        elif "epoch" in result:
            self.study.report(number, result)

    def on_trial_complete(self, *_: Any, **event: Any) -> None:
        number = event["trial"].config["number"]
        if number in self.problems:
            self.study.tell(number, "failed", self.problems[number])
        else:
            self._tell_trained(number)
        self._report()

    def _tell_trained(self, number: int) -> None:
        done, folds = self.study.count_folds(number)
        if done == folds:
            self.study.tell(number, "finished")
        elif done:
            self.study.tell(number, "pruned", f"clearly worse than the best trial after {done} of {folds} folds")
        else:
            reached = len(self.study.trials[number].curve)
            self.study.tell(number, "pruned", f"{REASONS[self.study.search.scheduler]} after epoch {reached}")

    def on_trial_error(self, *_: Any, **event: Any) -> None:
        lines = str(event["trial"].get_error() or "").strip().splitlines()
        self.study.tell(event["trial"].config["number"], "failed", lines[-1] if lines else "its process was lost")
        self._report()

    def _report(self) -> None:
        trials, goal = self.study.trials, self.study.search.goal
        best = goal.winner(trials)
        text = f"best {goal.name} {goal.value(best):.4f} (trial {best.name})" if best else ""
        self.on_progress(sum(trial.state != "running" for trial in trials.values()), self.study.search.trials, text)
