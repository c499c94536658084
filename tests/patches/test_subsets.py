from pathlib import Path

import pytest
from scenes import experiment, write_luna

from voxray.config.experiment import Experiment
from voxray.config.folds import fold_experiments
from voxray.datasets.layouts import read_manifest
from voxray.errors import ConfigError, DataError
from voxray.patches.plan import Plan
from voxray.patches.planned import plan_experiment
from voxray.patches.subsets import find_folds


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scans each in subset0 to subset4, one each in the others; those of subset5 are not listed."""
    root = tmp_path_factory.mktemp("subsets")
    names = write_luna(root, 15, positives=1, negatives=2, shape=(8, 8, 4))
    path = root / "candidates.csv"
    unlisted = names[5]
    path.write_text("\n".join(line for line in path.read_text().splitlines() if not line.startswith(unlisted)))
    return root


def planned(root: Path, **split: object) -> Plan:
    return plan_experiment(experiment(root, root / "run", split={"val": 0.25, **split}))[1]


def scans(plan: Plan, split: str) -> set[str]:
    rows = plan.table.to_pylist()
    return {row["path"] for row in rows if row["split"] == split}


def resolved(root: Path, folds: object = "subsets") -> Experiment:
    spec = experiment(root, root / "run", split={"folds": folds})
    return find_folds(spec, read_manifest(spec.data))


def test_a_fold_tests_exactly_the_scans_of_its_subset(root: Path) -> None:
    folds = fold_experiments(resolved(root))
    assert [fold.split.fold for fold in folds] == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert [fold.out_path.name for fold in folds] == [f"fold_{fold.split.fold}" for fold in folds]
    everything = {
        path for path in (str(file.relative_to(root)) for file in root.rglob("*.mhd")) if "subset5" not in path
    }
    for fold in folds:
        plan = plan_experiment(fold)[1]
        tested = scans(plan, "test")
        assert tested == {path for path in everything if path.startswith(f"subset{fold.split.fold}/")}
        assert scans(plan, "train") | scans(plan, "val") == everything - tested
        assert not scans(plan, "train") & scans(plan, "val")
        assert scans(plan, "val")


def test_a_fold_is_the_same_alone_and_among_others(root: Path) -> None:
    alone = planned(root, folds="subsets", fold=3)
    for folds in ("subsets", [3, 7]):
        spec = next(fold for fold in fold_experiments(resolved(root, folds)) if fold.split.fold == 3)
        assert plan_experiment(spec)[1].digest == planned(root, test=0.25, folds="subsets", fold=3).digest
    assert scans(alone, "test") == {path for path in scans(alone, "test") if path.startswith("subset3/")}


def test_some_of_the_subsets_can_be_folds_and_the_others_train(root: Path) -> None:
    first, second = fold_experiments(resolved(root, [7, 3]))
    assert (first.split.fold, second.split.fold) == (3, 7)
    trained = scans(plan_experiment(first)[1], "train") | scans(plan_experiment(first)[1], "val")
    assert {path.partition("/")[0] for path in trained} == {f"subset{number}" for number in (0, 1, 2, 4, 6, 7, 8, 9)}


def test_a_key_for_pseudonyms_changes_no_fold(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBSETS_KEY", "k" * 64)
    spec = experiment(root, root / "run", split={"folds": "subsets", "fold": 2}, privacy={"key_env": "SUBSETS_KEY"})
    assert scans(plan_experiment(spec)[1], "test") == scans(planned(root, folds="subsets", fold=2), "test")


def test_a_subset_without_candidates_is_no_fold(root: Path) -> None:
    there = "subset0, subset1, subset2, subset3, subset4, subset6, subset7, subset8, subset9"
    for attempt in (lambda: planned(root, folds="subsets", fold=5), lambda: resolved(root, [0, 5])):
        with pytest.raises(DataError, match=rf"split\.folds: subset5 has no scan with candidates; there are {there}\."):
            attempt()


def test_one_subset_alone_is_no_cross_validation(tmp_path: Path) -> None:
    write_luna(tmp_path, 1, positives=1, negatives=2, shape=(8, 8, 4))
    with pytest.raises(DataError, match=r"two subsets with candidates or more, got subset0 alone"):
        resolved(tmp_path)


def test_other_layouts_have_no_subsets(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("path,label\na.png,0\nb.png,1\n")
    spec = experiment(tmp_path, tmp_path / "run", split={"folds": "subsets"}, data={"layout": "table"})
    manifest = read_manifest(spec.data)
    with pytest.raises(DataError, match=r"split\.folds: only the layout 'luna16' has the folders subset0 … subset9"):
        find_folds(spec, manifest)
    single = experiment(tmp_path, tmp_path / "run", split={"folds": "subsets", "fold": 0}, data={"layout": "table"})
    with pytest.raises(DataError, match=r"only the layout 'luna16'"):
        plan_experiment(single)


def test_folds_that_are_not_known_yet_are_no_experiments(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"split\.folds: does not say which subsets are there"):
        fold_experiments(experiment(root, root / "run", split={"folds": "subsets"}))


@pytest.mark.parametrize(
    ("split", "problem"),
    [
        ({"folds": [0, 0]}, "each subset may be named once"),
        ({"folds": [0, 10]}, "less than 10"),
        ({"folds": [3]}, "at least 2 items"),
        ({"folds": "subset"}, "'subsets'"),
        ({"folds": "subsets", "fold": 10}, "expected the number of a subset, 0 to 9, got 10"),
        ({"folds": 3, "fold": 3}, r"expected a fold below split\.folds = 3"),
    ],
)
def test_folds_that_make_no_sense_are_refused(root: Path, split: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        experiment(root, root / "run", split=split)
