"""Hard negatives: the network of a first round searches the training scans, and its false positives join the store."""

import time
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from voxray.config.experiment import Experiment
from voxray.config.rounds import first_round
from voxray.console.progress import OnProgress
from voxray.datasets.annotated import annotations_digest, read_truth
from voxray.datasets.layouts import find_layout
from voxray.datasets.pseudonyms import files_of
from voxray.errors import ConfigError, NotReadyError, StoreError
from voxray.evaluation.hard_negatives import choose_hard_negatives, count_to_add
from voxray.executors.base import Executor
from voxray.inference.find import Found
from voxray.reporting.text.numbers import count
from voxray.runs.folder import run_folder
from voxray.runs.keys import digest
from voxray.runs.proposing import proposing_key
from voxray.runs.records import read_records
from voxray.runs.status import confirm_finished, reported
from voxray.stages.common import OnStatus, is_finished
from voxray.stages.scan_check import check_read_again, scans_of
from voxray.storage.locks import locked
from voxray.storage.paths import AnyPath, exists, remove_folder
from voxray.store.add import begin_added, finish_added, is_added, plan_added
from voxray.store.added import NEGATIVES, SEARCH, added_folder, read_negatives, with_added
from voxray.store.layout import NEGATIVES_FILE, SEARCH_FOLDER
from voxray.store.parts import unfinished_shards
from voxray.store.read import PatchStore
from voxray.store.tables import read_table, write_table
from voxray.training.checkpoint import weights_digest

# Of one scan; one that cannot be searched is a row with the problem.
FOUND = pa.schema([*NEGATIVES, ("problem", pa.string())])
BESIDE = {"rounds", "false_positives_per_scan", "model"}  # settings of detection that are no part of the key


def check_rounds(experiment: Experiment, *, masks: bool) -> None:
    """Raise ConfigError where a second round is asked for, and hard negatives cannot be found.

    `masks` says whether the experiment is a segmentation.
    """
    if experiment.detection.rounds == 1:
        return
    names = find_layout(experiment.data.layout).annotations
    if masks or not names:
        problem = "a second round is for classifiers of the candidates of whole scans (luna16)"
        raise ConfigError("detection.rounds", problem, "Set it to 1")
    if exists(experiment.data_path) and not exists(experiment.data_path / names[0]):
        problem = f"a second round needs the nodules of all scans, got no {names[0]} in {experiment.data_path}"
        raise ConfigError("detection.rounds", problem, "Add the list, or set it to 1")


def search_key(experiment: Experiment, trained: str) -> str:
    """Name of everything that the hard negatives depend on.

    `trained` is the key of the finished training of the first round.
    """
    first = first_round(experiment)
    content = {
        "train": trained,
        "weights": weights_digest(run_folder(first).model),
        "detection": experiment.detection.model_dump(mode="json", exclude=BESIDE),
        "proposing": proposing_key(experiment),
        "annotations": annotations_digest(experiment),
    }
    return digest(content)


def need_hard_negatives(experiment: Experiment, trained: str) -> None:
    """Raise NotReadyError where the hard negatives are not those of the finished training `trained`.

    Without the data set they are those that were found last.
    """
    folder = run_folder(first_round(experiment))
    record = read_records(folder.stages).get(SEARCH)
    if record is None or (exists(experiment.data_path) and record.key != search_key(experiment, trained)):
        problem = "the hard negatives were found with other settings or another network"
        raise NotReadyError(str(folder.path), problem, "Run voxray train first")


def add_hard_negatives(
    experiment: Experiment, store: PatchStore, trained: str, executor: Executor, on_status: OnStatus
) -> None:
    """Search the training scans with the network of the first round, and add its false positives to the store.

    An interrupted search continues with the scans that are left.

    Parameters
    ----------
    experiment : Experiment
        Of two rounds.
    store : PatchStore
        Without added rows.
    trained : str
        The key of the finished training of the first round.
    executor : Executor
    on_status : callable

    Raises
    ------
    StoreError
        Scans have changed since the store was made.
    """
    folder, key = run_folder(first_round(experiment)), search_key(experiment, trained)
    if is_finished(folder, SEARCH, key) and is_added(store, key):
        confirm_finished(folder, SEARCH)
        on_status(f"search: finished earlier, {_describe(store, key)}, reused")
        return
    with folder.locked(), locked(added_folder(store.path, key)), executor.session():
        started = time.perf_counter()
        if not is_added(store, key):
            scans = scans_of(store.rows("train"))
            check_read_again(experiment, store, scans, executor.cut_digests, on_status)
            negatives = _known_negatives(store, key)
            if negatives is None:
                negatives = _search(experiment, store, key, executor, on_status)
            _cut(experiment, store, key, negatives, executor)
        folder.mark_finished(SEARCH, key, time.perf_counter() - started, ())
    on_status(f"search: {_describe(store, key)} → {added_folder(store.path, key)}")


def _describe(store: PatchStore, key: str) -> str:
    added = with_added(store, key).index.num_rows - store.index.num_rows
    return count(added, "hard negative")


def _known_negatives(store: PatchStore, key: str) -> pa.Table | None:
    try:
        return read_negatives(store.path, key)
    except StoreError:
        return None


def _search(experiment: Experiment, store: PatchStore, key: str, executor: Executor, on_status: OnStatus) -> pa.Table:
    """Search all training scans, and write the list of hard negatives; returns it."""
    train, first = store.rows("train"), first_round(experiment)
    scans = sorted(scans_of(train), key=lambda scan: str(scan["scan_id"]))
    parts = added_folder(store.path, key) / SEARCH_FOLDER
    files = {scan["scan_id"]: parts / f"{number:06d}.parquet" for number, scan in enumerate(scans)}
    found = {name: table for name, file in files.items() if (table := _read_part(file, key)) is not None}
    pairs = zip(scans, files_of(experiment, scans), strict=True)
    waiting = [(scan["scan_id"], path) for scan, (path, _) in pairs if scan["scan_id"] not in found]
    if found:
        on_status(f"search: {len(found)} of {len(scans)} scans are finished, resuming")
    with reported(run_folder(first), SEARCH, "scans", len(found)) as on_progress:
        follow = partial(_follow, on_progress, len(found))
        for outcome in executor.find_in_scans(first, waiting, follow, calibrated=False):
            table = _table(outcome, private=store.info.private)
            write_table(table, files[outcome.scan_id], key)
            found[outcome.scan_id] = table
    for problem in (row for name in files for row in found[name]["problem"].drop_null().to_pylist()):
        on_status(f"note: a training scan is not searched: {problem}")
    names = pa.array(files)
    table = pa.concat_tables([found[name] for name in files])
    table = table.filter(pc.is_null(table["problem"])).select(NEGATIVES.names)
    labels = train.filter(pc.equal(train["rotation"], 0))["label"].to_numpy()
    wanted = count_to_add(int((labels > 0).sum()), int((labels == 0).sum()), experiment.patches)
    negatives = choose_hard_negatives(table, read_truth(experiment, names), train, names, wanted)
    write_table(negatives, added_folder(store.path, key) / NEGATIVES_FILE, key)
    if negatives.num_rows < wanted:
        on_status(f"note: the search found {negatives.num_rows:,} of {wanted:,} hard negatives")
    return negatives


def _cut(experiment: Experiment, store: PatchStore, key: str, negatives: pa.Table, executor: Executor) -> None:
    """Cut the patches around hard negatives, those of each shard in one task."""
    folder, first = added_folder(store.path, key), first_round(experiment)
    remove_folder(folder / SEARCH_FOLDER)
    plan, info = plan_added(store, experiment, key, negatives)
    begin_added(folder, plan, info)
    waiting, total = unfinished_shards(folder, info), sum(info.shards.values())
    done = total - len(waiting)
    with reported(run_folder(first), "cut", "shards", done) as on_progress:
        for number, _ in enumerate(executor.write_shards(folder, experiment.data_path, waiting), done + 1):
            on_progress(number, total, "")
        finish_added(folder, info, store)
        on_progress(total, total, f"{negatives.num_rows:,} hard negatives")


def _follow(on_progress: OnProgress, before: int, done: int, total: int, text: str) -> None:
    on_progress(before + done, before + total, text)


def _read_part(file: AnyPath, key: str) -> pa.Table | None:
    try:
        return read_table(file, FOUND, key)
    except StoreError:
        return None


def _table(found: Found, *, private: bool) -> pa.Table:
    """The findings of a scan, or a row with the reason why there are none, which may tell its name."""
    if found.findings is None:
        problem = f"{found.scan_id} cannot be used" if private else found.problem
        return pa.Table.from_pylist([{"scan_id": found.scan_id, "problem": problem}], schema=FOUND)
    findings, size = found.findings, len(found.findings)
    columns = [
        pa.array([found.scan_id] * size, pa.string()),
        *(pa.array(findings.centers_mm[:, axis]) for axis in range(3)),
        pa.array(findings.diameters_mm),
        pa.array(findings.probabilities),
        pa.nulls(size, pa.string()),
    ]
    return pa.table(columns, schema=FOUND)
