"""The experiment of the first of two rounds of training."""

from voxray.config.experiment import Experiment

FIRST = "round_1"


def first_round(experiment: Experiment) -> Experiment:
    """The experiment whose network searches the training scans for hard negatives: a run of its own.

    Its folder is ``round_1`` in that of the run; both have the same store.
    """
    content = experiment.model_dump(mode="json")
    content |= {
        "name": f"{experiment.name}_{FIRST}",
        "out": f"{experiment.out}/{FIRST}",
        "store": content["store"] | {"path": str(experiment.store_path)},
        "detection": content["detection"] | {"rounds": 1},
    }
    return Experiment.model_validate(content)
