"""Two rounds of training: the first network searches the training scans, its false positives join the store."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
from chests import NODULE_MM, write_chests
from scenes import SMALL_NET, experiment

from voxray.config.experiment import Experiment
from voxray.config.rounds import first_round
from voxray.console.progress import OnProgress
from voxray.errors import ConfigError, NotReadyError, StoreError
from voxray.evaluation.calibration import training_offsets
from voxray.executors.local import LocalExecutor
from voxray.inference.find import Found
from voxray.patches.cut import CutSettings, center_boxes, cut_patch
from voxray.runs.folder import run_folder
from voxray.runs.read import read_history
from voxray.scans.read import open_scan
from voxray.stages.evaluate import evaluate
from voxray.stages.ingest import ingest
from voxray.stages.pipeline import run
from voxray.stages.train import train
from voxray.storage.paths import AnyPath
from voxray.store.added import added_folder, hard_negatives, open_trained_store, read_negatives
from voxray.store.read import PatchStore, check_store, open_store
from voxray.store.write import ShardReport
from voxray.training.checkpoint import weights_digest


def quiet(line: str) -> None:
    """Swallow what a stage says."""


class Killed(LocalExecutor):
    """Dies in the search, before a shard or in a training, once each is reached for the given time."""

    def __init__(self, moment: str, number: int) -> None:
        self.moment, self.left, self.trained, self.searched = moment, number, 0, 0

    def _count(self, moment: str) -> None:
        if self.moment == moment:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt

    def find_in_scans(
        self, experiment: Experiment, scans: Any, on_progress: OnProgress, *, calibrated: bool = True
    ) -> Iterator[Found]:
        for found in super().find_in_scans(experiment, scans, on_progress, calibrated=calibrated):
            self._count("search")
            self.searched += 1
            yield found

    def write_shards(self, path: AnyPath, root: AnyPath, keys: Sequence[tuple[str, int]]) -> Iterator[ShardReport]:
        for report in super().write_shards(path, root, keys):
            yield report
            self._count("cut")

    def fit(self, experiment: Experiment, on_progress: OnProgress, stop: Callable[[], bool]) -> None:
        self._count("fit")
        self.trained += 1
        super().fit(experiment, on_progress, stop)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    folder = tmp_path_factory.mktemp("rounds")
    write_chests(folder / "data")
    (folder / "architecture.json").write_text(SMALL_NET)
    spec = experiment(
        folder / "data",
        folder / "run",
        patches={"size": [8, 8, 4], "negatives_per_positive": 2},
        store={"shard_bytes": 4 * 512, "chunk_bytes": 2 * 512},
        training={"epochs": 1, "batch_size": 8, "device": "cpu"},
        detection={"rounds": 2, "max_proposals": 30},
    )
    run(spec, LocalExecutor(), quiet)
    return spec


def added(spec: Experiment) -> tuple[PatchStore, list[dict[str, Any]]]:
    store = open_trained_store(spec)
    rows: list[dict[str, Any]] = hard_negatives(store).to_pylist()
    return store, rows


def test_hard_negatives_are_false_positives_of_the_training_scans_cut_as_the_list_is(finished: Experiment) -> None:
    store, rows = added(finished)
    plain = open_store(finished.store_path)
    positives = plain.rows("train").filter(pc.equal(plain.rows("train")["rotation"], 0))["label"].to_pylist().count(1)
    assert len(rows) == 2 * positives
    training = set(plain.rows("train")["scan_id"].to_pylist())
    settings = CutSettings.from_provenance(plain.info.provenance, 1, plain.info.classes, masks=False)
    for row in rows:
        assert (row["split"], row["label"], row["rotation"], row["round"]) == ("train", 0, 0, 2)
        assert row["scan_id"] in training
        point = np.array([row["x_mm"], row["y_mm"], row["z_mm"]])
        assert np.linalg.norm(point - (45, 10, 20)) >= NODULE_MM / 2
        assert np.linalg.norm(point - (45, 0, -25)) >= 5
        scan = open_scan(finished.data_path / row["path"])
        box = center_boxes(scan, point[None], settings.patches.size)[0]
        expected = cut_patch(scan, box, -1000, np.dtype("int16"), "")  # type: ignore[arg-type]
        np.testing.assert_array_equal(store.read_patches("train", np.array([row["slot"]]))[0], expected)
    listed = read_negatives(finished.store_path, added_key(finished))
    assert [row["row"] for row in rows] == list(range(len(rows)))
    assert (np.diff(listed["probability"].to_numpy()) <= 0).all()


def added_key(spec: Experiment) -> str:
    content = json.loads(run_folder(first_round(spec)).stages.read_text())
    return str(content["search"]["key"])


def test_a_run_of_one_round_on_the_same_store_does_not_see_them(finished: Experiment) -> None:
    plain, (store, rows) = open_store(finished.store_path), added(finished)
    assert plain.index.num_rows == store.index.num_rows - len(rows)
    assert "round" not in plain.index.column_names
    assert open_trained_store(first_round(finished)).content_digest == plain.content_digest
    for split in ("val", "test"):
        assert store.rows(split).equals(plain.rows(split))
    assert list(check_store(plain))


def test_offsets_of_the_calibration_count_the_added_negatives(finished: Experiment) -> None:
    plain, (store, rows) = open_store(finished.store_path), added(finished)
    negatives = plain.rows("train")["label"].to_pylist().count(0)
    change = training_offsets(finished, store) - training_offsets(finished, plain)
    np.testing.assert_allclose(change, [0, np.log(1 + len(rows) / negatives)])


def test_history_and_report_speak_of_both_rounds(finished: Experiment) -> None:
    _, rows = added(finished)
    assert read_history(run_folder(finished))["hard_negatives"].to_pylist() == [len(rows)]
    page = run_folder(finished).report.read_text()
    assert f"{len(rows)} hard negatives of" in page
    assert 'id="round-metrics"' in page
    assert page.count("slice 1 of 1.2.") > 4


def proposing(spec: Experiment, limit: int) -> Experiment:
    return spec.model_copy(update={"detection": spec.detection.model_copy(update={"max_proposals": limit})})


def test_a_search_has_the_settings_of_the_experiment_whatever_its_folder_recorded_before(finished: Experiment) -> None:
    scan = next(finished.data_path.glob("*/*.mhd"))
    first = first_round(proposing(finished, 3))
    (found,) = LocalExecutor().find_in_scans(first, [("scan", scan)], lambda *_: None)
    assert found.proposals is not None
    assert len(found.proposals) == 3


def test_a_finished_run_is_reused_and_settings_of_the_search_make_it_search_again(finished: Experiment) -> None:
    lines: list[str] = []
    run(finished, Killed("search", 0), lines.append)
    assert any(line.startswith("search: finished earlier") for line in lines)
    changed, before = proposing(finished, 20), run_folder(first_round(finished)).experiment.read_bytes()
    with pytest.raises(NotReadyError, match="found with other settings"):
        evaluate(changed, LocalExecutor(), quiet)
    assert run_folder(first_round(finished)).experiment.read_bytes() == before


def test_a_run_that_is_killed_again_and_again_ends_as_an_uninterrupted_one(
    finished: Experiment, tmp_path: Path
) -> None:
    content = finished.model_dump(mode="json")
    content["store"]["path"] = str(tmp_path / "store")
    spec = Experiment.model_validate({**content, "out": str(tmp_path / "run")})
    shutil.copytree(finished.store_path, tmp_path / "store", ignore=shutil.ignore_patterns("rounds"))
    shutil.copytree(first_round(finished).out_path, tmp_path / "run" / "round_1")
    searched = []
    for moment, number in (("search", 1), ("search", 1), ("cut", 0), ("fit", 0)):
        killed = Killed(moment, number)
        with pytest.raises(KeyboardInterrupt):
            train(spec, killed, quiet)
        with pytest.raises(NotReadyError):
            evaluate(spec, LocalExecutor(), quiet)
        searched.append(killed.searched)
    scans = len(set(open_store(spec.store_path).rows("train")["scan_id"].to_pylist()))
    assert searched == [1, 1, scans - 2, 0]
    again = Killed("never", 0)
    train(spec, again, quiet)
    assert (again.searched, again.trained) == (0, 1)
    key = added_key(finished)
    assert added_key(spec) == key
    one, other = (added_folder(each.store_path, key) for each in (finished, spec))
    names = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(other) for path in other.rglob("*") if path.is_file())
    assert all((one / name).read_bytes() == (other / name).read_bytes() for name in names)
    assert weights_digest(run_folder(spec).model) == weights_digest(run_folder(finished).model)


def test_damaged_hard_negatives_are_found_and_cut_again(finished: Experiment, tmp_path: Path) -> None:
    content = finished.model_dump(mode="json")
    content["store"]["path"] = str(tmp_path / "store")
    spec = Experiment.model_validate({**content, "out": str(tmp_path / "run")})
    shutil.copytree(finished.store_path, tmp_path / "store")
    shutil.copytree(finished.out_path, tmp_path / "run", ignore=shutil.ignore_patterns("store"))
    shard = next((added_folder(spec.store_path, added_key(spec)) / "train" / "image" / "c").rglob("0/0/0/0/0"))
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(StoreError, match="cannot be read"):
        ingest(spec, LocalExecutor(), quiet, verify=True)
    lines: list[str] = []
    ingest(spec, LocalExecutor(), lines.append, repair=True)
    assert any("cut again by the next training" in line for line in lines)
    again = Killed("search", 0)
    train(spec, again, quiet)
    assert again.trained == 0
    ingest(spec, LocalExecutor(), quiet, verify=True)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"data": {"layout": "table"}}, "for classifiers of the candidates of whole scans"),
        ({"data": {"layout": "luna16"}}, "needs the nodules of all scans"),
    ],
)
def test_data_without_annotated_scans_have_one_round(
    luna: Path, out: Path, changes: dict[str, Any], problem: str
) -> None:
    from voxray.stages.hard_negatives import check_rounds

    spec = experiment(luna, out, detection={"rounds": 2}, **changes)
    with pytest.raises(ConfigError, match=problem):
        check_rounds(spec, masks=False)
