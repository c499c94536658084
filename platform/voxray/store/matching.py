"""Whether a store is the one that an experiment describes: its settings, and the data set that it was made from.

Every stage opens the store of its experiment here, so that results for other settings or other data are never passed
off as those of the experiment.
"""

from collections.abc import Mapping
from typing import Any

from voxray.config.differences import differences
from voxray.config.experiment import Experiment
from voxray.errors import ConfigError, StoreError
from voxray.patches.plan import store_provenance
from voxray.patches.planned import planned_manifest
from voxray.storage.paths import AnyPath
from voxray.store.added import with_rounds
from voxray.store.layout import StoreInfo
from voxray.store.read import PatchStore, open_store
from voxray.store.sources import data_settings, read_sources

ANOTHER_STORE = "Give another folder with --set out=… or --set store.path=… and ingest into it, or undo the change"
LABELS = {  # of what follows from settings with other names
    "statistics": "intensity.kind (statistics of whole scans)",
    "windows": "intensity.window",
    "labels": "data (label_values, ignore_label, regions)",
    "private": "privacy (pseudonyms)",
}
ANOTHER_KEY = "privacy: the key differs from that of the store"
SHAPES_SETTINGS = ("sampling", "spacing_mm")  # of patches; with some of them the manifest holds shapes


def open_matching_store(experiment: Experiment) -> PatchStore:
    """Open the finished store of an experiment, as it trains on it.

    Nothing of the data set is read where its settings are those that the store was made with; else its lists are, which
    may lie elsewhere by now.

    Raises
    ------
    NotReadyError
        There is no finished store, or the rows of a second round are not there yet.
    StoreError
        It was made with other settings, or from another data set; with what differs.
    ConfigError
        The experiment is a cross-validation, which has a store for each fold.
    """
    if experiment.split.is_cross_validation:
        count = len(experiment.split.fold_numbers) or "several"
        problem = f"the experiment has {count} folds, each with a store of its own"
        raise ConfigError("split.folds", problem, "Use voxray run, or give --set split.fold=0")
    path = experiment.store_path
    store = open_store(path)
    known = store.info.provenance["manifest"]
    check_provenance(path, store.info.provenance, store_provenance(experiment, known, _key_digest(experiment, store)))
    if not has_known_data(experiment, store.info):
        manifest = planned_manifest(experiment).digest()
        key = experiment.privacy.key_digest()
        check_provenance(path, store.info.provenance, store_provenance(experiment, manifest, key))
    return with_rounds(experiment, store)


def _key_digest(experiment: Experiment, store: PatchStore) -> str | None:
    """The digest of the experiment's key; where the key is not at hand, as training needs none, that of the store."""
    try:
        return experiment.privacy.key_digest()
    except ConfigError:
        return store.info.provenance.get("private") or "unknown"


def has_known_data(experiment: Experiment, info: StoreInfo) -> bool:
    """Whether the experiment names the data set as it was named when the store's scans were last compared."""
    sources = read_sources(experiment.store_path)
    return sources is not None and sources.data == data_settings(experiment, info)


def check_provenance(path: AnyPath, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise StoreError where the store at `path`, with the provenance `before`, is not that of the provenance `now`."""
    differing = list(differences(_labeled(before), _labeled(now)))
    keys = before.get("private"), now.get("private")
    if all(keys) and keys[0] != keys[1]:
        differing.append(ANOTHER_KEY)
    settings = "; ".join(differing)
    other_data = before["manifest"] != now["manifest"] and not _explains_manifest(before, now)
    problems = [f"holds a store with other settings: {settings}"] if settings else []
    if other_data:
        problems.append("was made from another data set, or its lists of scans and samples have changed since")
    if problems:
        raise StoreError(str(path), ", and ".join(problems), ANOTHER_STORE)


def _labeled(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a provenance, by the names that users know."""
    settings = {key: bool(value) if key == "private" else value for key, value in provenance.items()}
    return {LABELS.get(key, key): value for key, value in settings.items() if key != "manifest"}


def _explains_manifest(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether settings differ that the manifest depends on, so that the data set may be the same."""
    shapes = any(before["patches"][key] != now["patches"][key] for key in SHAPES_SETTINGS)
    return shapes or before.get("private") != now.get("private")
