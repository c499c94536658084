"""The experiments of a cross-validation."""

from voxray.config.experiment import Experiment
from voxray.errors import ConfigError


def fold_experiments(experiment: Experiment) -> list[Experiment]:
    """An experiment for each fold, in folders ``fold_0``, ``fold_1``, … of the run and of the store.

    Without folds, and for a single fold, the experiment itself. Which subsets are there, where these are the folds, is
    known after `voxray.patches.subsets.find_folds`.

    Raises
    ------
    ConfigError
        The folds are subsets, and nothing says which.
    """
    if not experiment.split.is_cross_validation:
        return [experiment]
    if not experiment.split.fold_numbers:
        raise ConfigError("split.folds", "does not say which subsets are there, got 'subsets'", "Name them: [0, 1, …]")
    # A fold is the same whatever the other ones are.
    folds = "subsets" if experiment.split.by_subset else experiment.split.folds
    content = experiment.model_dump(mode="json")
    experiments = []
    for fold in experiment.split.fold_numbers:
        name = f"fold_{fold}"
        path = f"{experiment.store.path}/{name}" if experiment.store.path else None
        changed = content | {"name": f"{experiment.name}_{name}", "out": f"{experiment.out}/{name}"}
        changed |= {
            "split": content["split"] | {"folds": folds, "fold": fold},
            "store": content["store"] | {"path": path},
        }
        experiments.append(Experiment.model_validate(changed))
    return experiments
