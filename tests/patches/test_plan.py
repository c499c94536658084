from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import experiment

from voxray.config.data import NegativesSpec
from voxray.config.experiment import Experiment
from voxray.datasets.manifest import SAMPLES, SCANS, Manifest, quarantine_rows
from voxray.errors import DataError
from voxray.patches.balance import keep_negatives, split_patients
from voxray.patches.plan import Plan, plan_patches


def manifest_of(counts: list[tuple[int, int, int]], splits: list[str | None] | None = None) -> Manifest:
    """Scans with (patient, positives, negatives) each."""
    ids = [f"s{number:03d}" for number in range(len(counts))]
    splits = splits or [None] * len(counts)
    scans = [
        {"scan_id": name, "patient_id": f"p{patient}", "path": name, "split": split}
        for name, (patient, _, _), split in zip(ids, counts, splits, strict=True)
    ]
    samples = []
    for name, (_, positives, negatives) in zip(ids, counts, strict=True):
        for number in range(positives + negatives):
            label = int(number < positives)
            samples.append(
                {"scan_id": name, "row": len(samples), "x_mm": 0.0, "y_mm": 0.0, "z_mm": 0.0, "label": label}
            )
    tables = pa.Table.from_pylist(scans, schema=SCANS), pa.Table.from_pylist(samples, schema=SAMPLES)
    return Manifest(Path("/nowhere"), ("other", "nodule"), *tables, quarantine_rows([]))


def spec(**changes: object) -> Experiment:
    return experiment(Path("/nowhere"), Path("/nowhere/run"), **changes)


def plan_of(counts: list[tuple[int, int, int]], splits: list[str | None] | None = None, **changes: object) -> Plan:
    return plan_patches(manifest_of(counts, splits), spec(**changes))


manifests = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3), st.integers(1, 30)), min_size=1, max_size=25)


@settings(max_examples=60, deadline=None)
@given(manifests, st.integers(0, 5))
def test_no_patient_is_in_two_splits(counts: list[tuple[int, int, int]], seed: int) -> None:
    table = plan_of(counts, seed=seed, patches={"negatives_per_positive": "all"}).table
    groups = table.group_by("patient_id").aggregate([("split", "count_distinct")])
    assert set(groups["split_count_distinct"].to_pylist()) == {1}
    assert table.num_rows == sum(positives + negatives for _, positives, negatives in counts)


def test_a_patient_that_the_data_set_puts_in_two_splits_is_refused() -> None:
    with pytest.raises(DataError, match="patient 'p1' is in the splits train and val"):
        plan_of([(0, 1, 2), (1, 1, 2), (1, 1, 2), (2, 1, 2)], ["val", "train", "val", None])


@settings(max_examples=60, deadline=None)
@given(manifests, st.integers(0, 5))
def test_training_keeps_five_negatives_per_positive_and_the_other_splits_all(
    counts: list[tuple[int, int, int]], seed: int
) -> None:
    everything = plan_of(counts, seed=seed, patches={"negatives_per_positive": "all"})
    if sum(positives for _, positives, _ in counts) == 0:
        return
    plan = plan_of(counts, seed=seed)
    for split in everything.shards:
        positives, negatives = everything.count(split, 1), everything.count(split, 0)
        assert plan.count(split, 1) == positives
        assert plan.count(split, 0) == (min(5 * positives, negatives) if split == "train" else negatives)


@settings(max_examples=60, deadline=None)
@given(manifests, st.integers(0, 5), st.sampled_from(["train", "val", "test"]), st.sampled_from([0.5, 1, 3, "all"]))
def test_each_split_keeps_as_many_negatives_as_its_own_ratio_says(
    counts: list[tuple[int, int, int]], seed: int, chosen: str, ratio: float | str
) -> None:
    if sum(positives for _, positives, _ in counts) == 0:
        return
    everything = plan_of(counts, seed=seed, patches={"negatives_per_positive": "all"})
    ratios = {"train": "all", "val": "all", "test": "all", chosen: ratio}
    plan = plan_of(counts, seed=seed, patches={"negatives_per_positive": ratios})
    for split in everything.shards:
        positives, negatives = everything.count(split, 1), everything.count(split, 0)
        most = negatives if ratios[split] == "all" else max(round(float(ratios[split]) * positives), positives > 0)
        assert [plan.count(split, label) for label in (0, 1)] == [min(most, negatives), positives]


@settings(max_examples=60, deadline=None)
@given(manifests, st.integers(0, 5))
def test_the_plan_counts_each_class_before_and_after_negatives_are_dropped(
    counts: list[tuple[int, int, int]], seed: int
) -> None:
    if sum(positives for _, positives, _ in counts) == 0:
        return
    everything = plan_of(counts, seed=seed, patches={"negatives_per_positive": "all"})
    plan = plan_of(counts, seed=seed, patches={"negatives_per_positive": {"train": 2, "val": 1}})
    assert set(plan.population) == set(plan.shards)
    for split, population in plan.population.items():
        for name, planned in (("listed", everything), ("planned", plan)):
            rows = [row for row in planned.table.to_pylist() if row["split"] == split]
            units = {
                level: [len({row[f"{level}_id"] for row in rows if row["label"] == label}) for label in (0, 1)]
                for level in ("scan", "patient")
            }
            patches = [planned.count(split, label) for label in (0, 1)]
            assert population[name] == {"patch": patches, **units, "scans": planned.unique(split, "scan_id")}


@settings(max_examples=40, deadline=None)
@given(manifests, st.integers(0, 5), st.randoms())
def test_the_plan_does_not_depend_on_the_order_of_the_lists(
    counts: list[tuple[int, int, int]], seed: int, random: object
) -> None:
    manifest = manifest_of(counts)
    order = np.random.default_rng(seed).permutation(manifest.samples.num_rows)
    shuffled = Manifest(
        manifest.root,
        manifest.classes,
        manifest.scans.take(pa.array(np.arange(manifest.scans.num_rows)[::-1])),
        manifest.samples.take(pa.array(order)),
        manifest.quarantine,
    )
    every = spec(seed=seed, patches={"negatives_per_positive": "all"})
    assert plan_patches(manifest, every).table.equals(plan_patches(shuffled, every).table)


@settings(max_examples=60, deadline=None)
@given(manifests, st.integers(0, 3))
def test_scans_are_whole_in_a_shard_unless_larger_than_one(counts: list[tuple[int, int, int]], seed: int) -> None:
    plan = plan_of(counts, seed=seed, patches={"negatives_per_positive": "all"})
    assert plan.patches_per_shard == 16
    for split, shards in plan.shards.items():
        mine = plan.table.filter(pc.equal(plan.table["split"], split))
        slots = mine["slot"].to_numpy()
        assert (np.diff(slots) > 0).all()
        np.testing.assert_array_equal(mine["shard"].to_numpy(), slots // 16)
        assert set(mine["shard"].to_pylist()) == set(range(shards))
        for name in set(mine["scan_id"].to_pylist()):
            own = mine.filter(pc.equal(mine["scan_id"], name))["slot"].to_numpy()
            np.testing.assert_array_equal(np.diff(own), 1)
            if len(own) <= 16:
                assert own[0] // 16 == own[-1] // 16


def test_scans_are_dealt_to_shards_in_a_random_order_of_the_seed() -> None:
    counts = [(number, 1, 3) for number in range(40)]
    first, again, other = (plan_of(counts, seed=seed).table for seed in (0, 0, 1))
    assert first.equals(again)
    assert not first.equals(other)
    names = first.filter(pc.equal(first["split"], "train"))["scan_id"].to_pylist()
    assert names != sorted(names)


def test_splits_that_the_data_set_brings_are_honoured() -> None:
    counts = [(number, 1, 2) for number in range(6)]
    plan = plan_of(counts, ["train", "train", "train", "val", "test", "test"])
    assert [plan.unique(split, "scan_id") for split in ("train", "val", "test")] == [3, 1, 2]
    plan = plan_of(counts, ["train", "train", "val", "val", "val", "train"])
    assert "test" not in plan.shards


def test_a_data_set_without_val_has_it_taken_from_its_training_patients() -> None:
    counts = [(number, 1, 2) for number in range(10)]
    plan = plan_of(counts, ["train"] * 8 + ["test"] * 2)
    assert plan.unique("test", "scan_id") == 2
    assert plan.unique("val", "scan_id") == 2
    assert plan.unique("train", "scan_id") == 6


def test_rare_positives_reach_every_split() -> None:
    counts = [(number, int(number % 10 == 0), 20) for number in range(60)]
    plan = plan_of(counts, split={"val": 0.2, "test": 0.2})
    assert all(plan.count(split, 1) >= 1 for split in ("train", "val", "test"))


def test_boxes_of_whole_scans_want_one_sample_each_and_foreground_wants_masks() -> None:
    table = plan_of(
        [(number, 1, 0) for number in range(4)], patches={"sampling": "random", "patches_per_scan": 3}
    ).table
    assert sorted(table["number"].to_pylist()) == sorted(4 * [0, 1, 2])
    with pytest.raises(DataError, match="sampling = 'random' needs one sample per scan, got several"):
        plan_of([(0, 1, 1)], patches={"sampling": "random"})
    with pytest.raises(DataError, match="sampling = 'foreground' needs scans with masks, got none"):
        plan_of([(0, 1, 0)], patches={"sampling": "foreground"})


def test_a_list_without_any_usable_sample_is_refused() -> None:
    with pytest.raises(DataError, match="none of the listed samples belongs to a scan that exists"):
        plan_of([(0, 0, 0)])


def test_a_list_without_positives_is_refused() -> None:
    with pytest.raises(DataError, match="has no sample of a class other than 'other'"):
        plan_of([(0, 0, 9), (1, 0, 9)])


def test_the_digest_names_the_recipe_and_not_the_place() -> None:
    counts = [(number, 1, 2) for number in range(6)]
    plain = plan_of(counts)
    assert plain.digest == plan_of(counts, store={"path": "/other/store"}).digest
    assert plain.digest != plan_of(counts, seed=1).digest
    assert plain.digest != plan_of(counts, patches={"negatives_per_positive": 4}).digest
    assert plain.digest != plan_of([*counts, (9, 1, 1)]).digest


@given(st.integers(1, 200), st.floats(0, 0.4), st.floats(0, 0.4), st.integers(0, 9))
def test_shares_of_patients_are_kept_within_one(patients: int, val: float, test: float, seed: int) -> None:
    names = np.array([f"p{number}" for number in range(patients)])
    splits = split_patients(names, np.zeros(patients, np.int64), {"val": val, "test": test}, seed)
    assert abs((splits == "val").sum() - val * patients) <= 1
    assert abs((splits == "test").sum() - test * patients) <= 1


def test_negatives_are_drawn_from_all_of_them() -> None:
    labels = np.array([1] * 10 + [0] * 1000)
    kept = keep_negatives(labels, np.full(1010, "train"), NegativesSpec(train=5), 0)
    assert kept[:10].all()
    assert kept.sum() == 60
    assert np.flatnonzero(kept[10:]).max() > 700
