"""The segmentation networks that propose candidates: whether they may, and where they see something in a scan."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from voxray.config.experiment import Experiment
from voxray.errors import ConfigError, NotReadyError
from voxray.inference.load import TrainedRun, load_trained
from voxray.inference.segmenter import Segmenter
from voxray.patches.planned import plan_experiment
from voxray.runs.folder import RunFolder
from voxray.runs.proposing import proposing_run
from voxray.runs.read import read_run_experiment
from voxray.storage.paths import AnyPath, exists
from voxray.store.layout import INDEX_FILE
from voxray.store.read import open_store
from voxray.volume import Volume

SETTING = "detection.model"
NAMES_SHOWN = 3


def check_proposing(experiment: Experiment, rows: pa.Table) -> None:
    """Check that the network that proposes candidates is trained, on no scan that is validated or tested.

    Parameters
    ----------
    experiment : Experiment
        Of a classifier; where no network proposes, nothing is checked.
    rows : pyarrow.Table
        Of its plan or its store: `split` and `scan_id`.

    Raises
    ------
    NotReadyError
        The network is not trained.
    ConfigError
        It is not a segmentation, or was trained on such a scan.
    """
    folder = proposing_run(experiment)
    if folder is None:
        return
    _need_trained(folder)
    Segmenter(load_trained(folder.path, torch.device("cpu")))
    trained, key = _training_scans(folder)
    if key != experiment.privacy.key_digest():
        problem = f"the scans of {folder.path} have other pseudonyms, so that splits cannot be compared"
        raise ConfigError(SETTING, problem, "Give both runs the same key")
    known = pc.is_in(rows["scan_id"].cast(pa.string()), value_set=trained)
    held_out = rows.filter(pc.and_(pc.not_equal(rows["split"], "train"), known))
    if held_out.num_rows:
        names = pc.unique(held_out["scan_id"]).to_pylist()
        splits = " and ".join(sorted(pc.unique(held_out["split"]).to_pylist()))
        shown = ", ".join(names[:NAMES_SHOWN]) + (", …" if len(names) > NAMES_SHOWN else "")
        problem = f"{len(names)} scans of the split {splits} are in the split train of {folder.path}: {shown}"
        raise ConfigError(SETTING, problem, "Give both runs the same seed and [split], or name another run")


def _need_trained(folder: RunFolder) -> None:
    if folder.finished("train") is None:
        problem = f"{SETTING}: {folder.damage('train') or 'no finished training'}"
        raise NotReadyError(str(folder.path), problem, "Run voxray run on the experiment of the proposals first")


def _training_scans(folder: RunFolder) -> tuple[pa.Array, str | None]:
    """The scans that a network was trained on, and the digest of the key of their pseudonyms."""
    experiment = read_run_experiment(folder)
    if exists(experiment.store_path / INDEX_FILE):
        store = open_store(experiment.store_path)
        return pc.unique(store.rows("train")["scan_id"]), store.info.provenance.get("private")
    _, plan = plan_experiment(experiment)
    rows = plan.table.filter(pc.equal(plan.table["split"], "train"))
    return pc.unique(rows["scan_id"].cast(pa.string())), experiment.privacy.key_digest()


def load_proposing(runs: Sequence[TrainedRun]) -> tuple[Segmenter, ...]:
    """The networks that propose for the runs of a classifier, each once; none where no network proposes.

    Raises
    ------
    NotReadyError
        One of them is not trained.
    ConfigError
        One of them is not a segmentation.
    """
    found = [folder for run in runs if (folder := proposing_run(run.experiment)) is not None]
    folders = {str(folder.path): folder for folder in found}
    for folder in folders.values():
        _need_trained(folder)
    keys = [record.key for folder in folders.values() if (record := folder.finished("train"))]
    paths = tuple(folder.path for folder in folders.values())
    return _load(paths, tuple(keys), runs[0].device) if paths else ()


@lru_cache(maxsize=1)
def _load(paths: tuple[AnyPath, ...], _keys: tuple[str, ...], device: torch.device) -> tuple[Segmenter, ...]:
    """Loaded again where one of the networks was trained again."""
    segmenters = tuple(Segmenter(load_trained(path, device)) for path in paths)
    if len({segmenter.run.experiment.patches.spacing_mm for segmenter in segmenters}) > 1:
        raise ConfigError(SETTING, "the folds have different values of patches.spacing_mm", "Run all of them again")
    return segmenters


def foreground_map(segmenters: Sequence[Segmenter], volume: Volume, where: str) -> Volume:
    """The mean probability of foreground by several networks, of which one map is in memory beside the sum."""
    first, *others = segmenters
    mean = first.foreground(volume, where)
    total = np.asarray(mean.array)
    for segmenter in others:
        total += np.asarray(segmenter.foreground(volume, where).array)
    total /= len(segmenters)
    return Volume(total, mean.affine)
