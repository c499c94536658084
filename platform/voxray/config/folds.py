"""The experiments of a cross-validation."""

from voxray.config.experiment import Experiment


def fold_experiments(experiment: Experiment) -> list[Experiment]:
    """An experiment for each fold, in folders ``fold_0``, ``fold_1``, … of the run and of the store.

    Without folds, and for a single fold, the experiment itself.
    """
    if experiment.split.folds is None or experiment.split.fold is not None:
        return [experiment]
    content = experiment.model_dump(mode="json")
    experiments = []
    for fold in range(experiment.split.folds):
        name = f"fold_{fold}"
        path = f"{experiment.store.path}/{name}" if experiment.store.path else None
        changed = content | {"name": f"{experiment.name}_{name}", "out": f"{experiment.out}/{name}"}
        changed |= {"split": content["split"] | {"fold": fold}, "store": content["store"] | {"path": path}}
        experiments.append(Experiment.model_validate(changed))
    return experiments
