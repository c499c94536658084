import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chests import chest
from numpy.typing import NDArray
from scenes import SMALL_NET, experiment, write_metaimage

from voxray.api.trained_run import load_run
from voxray.cli.data import print_plan
from voxray.config.experiment import Experiment
from voxray.config.folds import fold_experiments
from voxray.errors import ConfigError, WorkError
from voxray.evaluation.finding_tables import summarize_findings
from voxray.evaluation.folds import join_folds
from voxray.executors.local import LocalExecutor
from voxray.inference.detector import Detector, Findings
from voxray.inference.load import load_trained
from voxray.inspection.annotations import annotation_note
from voxray.metrics.detection import RATES, rate_name
from voxray.patches.planned import planned_manifest
from voxray.patches.scans import split_scans
from voxray.prediction.files import Options
from voxray.reporting.run.contents import read_run
from voxray.reporting.run.fold_page import write_fold_report
from voxray.reporting.run.page import write_report
from voxray.runs.folder import run_folder
from voxray.runs.read import read_findings, read_metrics
from voxray.scans.read import open_file
from voxray.stages.evaluate import evaluate
from voxray.stages.ingest import ingest
from voxray.stages.predict import predict
from voxray.stages.score import ScoreInputs, score
from voxray.stages.train import train
from voxray.store.read import open_store
from voxray.training.loop import choose_device

SCANS, PER_SCAN, LIMIT = 8, 4, 1.5
HEADING = "seriesuid,coordX,coordY,coordZ"


def write_chests(root: Path) -> None:
    """A LUNA16 folder of chests, each with four balls: two nodules, one that is excluded and one of no list."""
    rng = np.random.default_rng(3)
    candidates, nodules, excluded = [f"{HEADING},class"], [f"{HEADING},diameter_mm"], [f"{HEADING},diameter_mm"]
    for number in range(SCANS):
        name, sides = f"1.9.{number:02d}", rng.permutation([-1, 1, -1, 1])
        centers = np.stack([45 * sides, rng.uniform(-25, 25, PER_SCAN), np.array([-35, -12, 12, 35])], axis=1)
        diameters = rng.uniform(6, 12, PER_SCAN)
        volume = chest([(tuple(center), size) for center, size in zip(centers.tolist(), diameters, strict=True)])
        voxels = volume.array[0] + rng.integers(-15, 16, volume.shape, np.int16)
        origin = volume.affine[:3, 3] * (-1, -1, 1)
        geometry = {"spacing": volume.spacing_mm, "origin": origin.tolist(), "direction": (-1, 0, 0, 0, -1, 0, 0, 0, 1)}
        write_metaimage(root / f"subset{number % 2}" / f"{name}.mhd", voxels, **geometry)
        lps = [f"{name},{-x:.4f},{-y:.4f},{z:.4f}" for x, y, z in centers]
        nodules += [f"{point},{size:.3f}" for point, size in zip(lps[:2], diameters[:2], strict=True)]
        excluded.append(f"{lps[2]},-1")
        others = rng.uniform((-60, -20, -30), (60, 20, 30), (8, 3))
        candidates += [f"{point},1" for point in lps[:2]] + [f"{point},0" for point in lps[2:]]
        candidates += [f"{name},{x:.4f},{y:.4f},{z:.4f},0" for x, y, z in others]
    for file, lines in (("candidates", candidates), ("annotations", nodules), ("annotations_excluded", excluded)):
        (root / f"{file}.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def crossed(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """A cross-validation of two folds, evaluated and joined."""
    folder = tmp_path_factory.mktemp("searched")
    write_chests(folder / "scans")
    (folder / "architecture.json").write_text(SMALL_NET)
    detection = {"max_proposals": 30, "false_positives_per_scan": LIMIT}
    spec = experiment(folder / "scans", folder / "run", split={"folds": 2, "val": 0.5}, detection=detection)
    for fold in fold_experiments(spec):
        for stage in (ingest, train, evaluate):
            stage(fold, LocalExecutor(), lambda line: None)
    join_folds(spec, fold_experiments(spec))
    return spec


@pytest.fixture(scope="module")
def run(crossed: Experiment) -> Experiment:
    """The first fold."""
    return fold_experiments(crossed)[0]


def whole_scans(run: Experiment, split: str) -> dict[str, object]:
    found: dict[str, object] = read_metrics(run_folder(run))[split]["whole_scans"]
    return found


def places(table: pa.Table) -> NDArray[np.float64]:
    return np.stack([table[f"{axis}_mm"].to_numpy() for axis in "xyz"], axis=1)


def changed(run: Experiment, **settings: object) -> Experiment:
    return run.model_copy(update={"detection": run.detection.model_copy(update=settings)})


@pytest.mark.parametrize("split", ["val", "test"])
def test_findings_are_scored_as_the_command_scores_their_list(run: Experiment, tmp_path: Path, split: str) -> None:
    findings, nodules = read_findings(run_folder(run), split)
    kept = [row for row in findings.to_pylist() if row["outcome"] != "merged"]
    lines = [f"{r['scan_id']},{-r['x_mm']!r},{-r['y_mm']!r},{r['z_mm']!r},{r['probability']!r}" for r in kept]
    (tmp_path / "list.csv").write_text("\n".join([f"{HEADING},probability", *lines]) + "\n")
    series = sorted({row["scan_id"] for row in nodules.to_pylist()})
    (tmp_path / "series.csv").write_text("\n".join(series) + "\n")
    root, metrics = Path(run.data.root), whole_scans(run, split)
    lists = (root / "annotations.csv", root / "annotations_excluded.csv", tmp_path / "series.csv")
    expected, _ = score(ScoreInputs([tmp_path / "list.csv"], *lists))
    assert metrics["cpm"] == pytest.approx(expected.cpm, abs=1e-12)
    for rate in map(rate_name, RATES):
        assert metrics[f"sensitivity_at/{rate}"] == pytest.approx(expected.sensitivity_at[rate], abs=1e-12)
    counts = [metrics[name] for name in ("scans", "nodules", "findings", "dropped_as_excluded")]
    assert counts == [len(series), expected.nodules, expected.candidates, expected.dropped_as_excluded]


def test_proposals_come_first_and_their_sensitivity_is_that_of_the_points_themselves(run: Experiment) -> None:
    assert list(whole_scans(run, "test"))[:3] == ["proposals", "proposal_sensitivity", "proposals_per_scan"]
    detector = Detector([load_trained(run.out_path, choose_device("cpu"))])
    _, nodules = read_findings(run_folder(run), "test")
    hits, proposals = [], 0
    for name in sorted(set(nodules["scan_id"].to_pylist())):
        (file,) = Path(run.data.root).glob(f"*/{name}.mhd")
        centers = detector.propose(open_file(file)).centers_mm
        proposals += len(centers)
        own = nodules.filter(pa.compute.equal(nodules["scan_id"], name))
        for center, diameter in zip(places(own), own["diameter_mm"].to_pylist(), strict=True):
            hits.append(bool((np.linalg.norm(centers - center, axis=1) < diameter / 2).any()))
    metrics = whole_scans(run, "test")
    assert metrics["proposal_sensitivity"] == np.mean(hits) > 0
    assert metrics["proposals_per_scan"] == proposals / metrics["scans"]  # type: ignore[operator]


def test_all_scans_are_pooled_each_at_the_threshold_of_its_fold(crossed: Experiment) -> None:
    joined, folds = whole_scans(crossed, "test"), [whole_scans(fold, "test") for fold in fold_experiments(crossed)]
    assert joined["thresholds"] == [fold["threshold"] for fold in folds]
    for name in ("scans", "nodules", "findings", "dropped_as_excluded"):
        assert joined[name] == sum(fold[name] for fold in folds)  # type: ignore[misc]
    for name in ("recall", "false_positives_per_scan", "proposals_per_scan"):
        assert joined[name] == pytest.approx(np.mean([fold[name] for fold in folds]))  # as many scans and nodules each
        assert joined["folds"][name] == [fold[name] for fold in folds]  # type: ignore[index]
    write_fold_report(run_folder(crossed).report, crossed, read_metrics(run_folder(crossed)))
    page = run_folder(crossed).report.read_text()
    assert "FROC curve of whole scans" in page
    assert "Sensitivity of the proposals, whole scans" in page
    assert set(pq.read_table(run_folder(crossed).findings("test"))["fold"].to_pylist()) == {0, 1}


def test_the_threshold_is_the_smallest_of_validation_and_test_is_reported_at_it(run: Experiment) -> None:
    threshold = whole_scans(run, "val")["threshold"]
    assert isinstance(threshold, float)
    for split in ("val", "test"):
        findings, nodules = read_findings(run_folder(run), split)
        metrics, rows = whole_scans(run, split), findings.to_pylist()
        false = sorted(row["probability"] for row in rows if row["outcome"] == "false positive")
        scans = metrics["scans"]
        assert isinstance(scans, int)
        assert metrics["threshold"] == threshold
        assert metrics["false_positives_per_scan"] == sum(each >= threshold for each in false) / scans
        found = [each >= threshold for each in nodules["probability"].to_pylist()]
        assert metrics["recall"] == np.mean(found)
        if split == "val":
            below = [row["probability"] for row in rows if row["probability"] < threshold]
            allowed = sum(each >= threshold for each in false)
            assert allowed <= LIMIT * scans
            assert not below or sum(each >= max(below) for each in false) >= allowed


def test_a_list_as_proposals_removes_what_was_found_and_prediction_asks_for_one(
    run: Experiment, tmp_path: Path
) -> None:
    out, listed = run_folder(run), changed(run, proposals="list")
    before = json.loads(out.metrics.read_text())
    point = load_trained(run.out_path, choose_device("cpu")).operating_point
    assert point is not None
    assert (point.threshold, point.false_positives_per_scan) == (before["val"]["whole_scans"]["threshold"], LIMIT)
    evaluate(listed, LocalExecutor(), lambda line: None)
    after = json.loads(out.metrics.read_text())
    assert after == {split: {k: v for k, v in before[split].items() if k != "whole_scans"} for split in before}
    assert not out.findings("test").exists()
    assert load_trained(run.out_path, choose_device("cpu")).operating_point is None
    scan = next(Path(run.data.root).glob("*/*.mhd"))
    with pytest.raises(ConfigError, match="--candidates"):
        predict(run.out_path, [scan], Options(tmp_path / "found"), LocalExecutor(), lambda line: None)
    evaluate(run, LocalExecutor(), lambda line: None)
    assert json.loads(out.metrics.read_text()) == before


def test_the_terminal_says_proposals_first_and_a_second_run_searches_nothing(
    run: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxray.executors.local.find_here", None)
    lines: list[str] = []
    evaluate(run, LocalExecutor(), lines.append)
    (line,) = (line for line in lines if line.startswith("evaluate: test, 4 whole scans, 8 nodules: proposal_sens"))
    assert line.index("proposals_per_scan") < line.index("cpm") < line.index("recall")
    assert any("operating point p ≥ " in line and "at most 1.5 false positives a scan" in line for line in lines)


def test_a_scan_that_cannot_be_searched_is_named_and_nothing_is_passed_off_as_evaluated(
    run: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise MemoryError("no memory")

    again = changed(run, max_proposals=29)
    monkeypatch.setattr("voxray.inference.detector.find_lungs", broken)
    with pytest.raises(WorkError, match=r"6 of 6 scans cannot be searched: .*1\.9\.\d\d\.mhd.*no memory"):
        evaluate(again, LocalExecutor(), lambda line: None)
    assert run_folder(run).finished("evaluate") is None
    monkeypatch.undo()
    evaluate(run, LocalExecutor(), lambda line: None)


def test_scans_without_a_candidate_count_in_the_subset_that_is_tested(run: Experiment) -> None:
    spec = run.model_copy(update={"split": run.split.model_copy(update={"folds": "subsets", "fold": 1})})
    manifest = planned_manifest(spec)
    lone = manifest.scans["scan_id"][1].as_py()  # in subset1
    manifest = planned_manifest(spec)
    object.__setattr__(
        manifest, "samples", manifest.samples.filter(pa.compute.not_equal(manifest.samples["scan_id"], lone))
    )
    table = split_scans(manifest, spec)
    split_of = dict(zip(table["scan_id"].to_pylist(), table["split"].to_pylist(), strict=True))
    assert len(split_of) == SCANS
    assert {name for name, split in split_of.items() if split == "test"} == {f"1.9.{n:02d}" for n in range(1, SCANS, 2)}


def test_folds_are_pooled_each_at_its_own_threshold() -> None:
    findings = pa.table(
        {
            "scan_id": ["a", "a", "b", "b"],
            "patient_id": ["a", "a", "b", "b"],
            "probability": [0.9, 0.4, 0.4, 0.2],
            "outcome": ["hit", "false positive", "false positive", "merged"],
            "fold": [0, 0, 1, 1],
        }
    )
    places = {"patient_id": ["a", "b"], "x_mm": [0.0] * 2, "diameter_mm": [5.0] * 2}
    nodules = pa.table(
        {"scan_id": ["a", "b"], **places, "probability": [0.9, np.nan], "proposed": [0.9, 0.2], "fold": [0, 1]}
    )
    metrics = summarize_findings(findings, nodules, 4, [0.5, 0.3], 0)
    assert (metrics["recall"], metrics["false_positives_per_scan"]) == (0.5, 0.25)
    assert (metrics["proposal_sensitivity"], metrics["proposals_per_scan"]) == (1.0, 1.0)
    assert metrics["scans_without_proposals"] == 2
    assert np.isnan(summarize_findings(findings, nodules, 4, [0.5, np.nan], 0)["recall"])


def test_findings_of_a_scan_are_marked_from_the_operating_point_on(run: Experiment, tmp_path: Path) -> None:
    scan = next(Path(run.data.root).glob("*/*.mhd"))
    lines: list[str] = []
    predict(run.out_path, [scan], Options(tmp_path), LocalExecutor(), lines.append)
    content = json.loads((tmp_path / f"{scan.stem}_findings.json").read_text())
    point = content["operating_point"]
    assert point["threshold"] == whole_scans(run, "val")["threshold"]
    assert (point["false_positives_per_scan"], point["sensitivity"]) == (LIMIT, whole_scans(run, "val")["recall"])
    assert content["recall_threshold"] is None
    marks = [finding["above_operating_point"] for finding in content["findings"]]
    assert marks == [finding["probability"] >= point["threshold"] for finding in content["findings"]]
    found = load_run(run.out_path, device="cpu").predict(open_file(scan))
    assert isinstance(found, Findings)
    assert found.threshold == point["threshold"]
    assert found.count_above(found.threshold) == sum(marks)
    assert f"{sum(marks)} of {len(marks)} findings (●) are at or above the operating point, p ≥ " in lines[0]
    assert "at most 1.5 false positives a scan on validation, sensitivity " in lines[0]
    assert "recall" not in lines[0]
    page = (tmp_path / f"{scan.stem}_findings.html").read_text()
    assert page.count("● ") == 2 * min(sum(marks), 10)


def test_the_plan_and_the_inspection_say_what_detection_has(
    crossed: Experiment, run: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_plan(run)
    printed = capsys.readouterr().out
    assert "fold      fold 0 of 2 (from 0) is tested" in printed
    counts = [whole_scans(run, split)["scans"] for split in ("val", "test")]
    assert f"search    whole scans after training, {counts[0]} of val, {counts[1]} of test, at most 30 prop" in printed
    manifest = planned_manifest(crossed)
    sizes = [
        float(line.split(",")[4]) for line in (Path(crossed.data.root) / "annotations.csv").read_text().splitlines()[1:]
    ]
    assert annotation_note("luna16", manifest) == (
        f"16 annotated nodules in 8 of 8 scans, {min(sizes):.1f} to {max(sizes):.1f} mm in diameter "
        f"(median {np.median(sizes):.1f}); 8 excluded findings"
    )
    object.__setattr__(manifest, "root", tmp_path)
    assert str(annotation_note("luna16", manifest)).startswith("no annotations.csv: ")


def test_a_list_gets_the_probabilities_of_its_evaluation_and_its_operating_point(
    run: Experiment, tmp_path: Path
) -> None:
    root = Path(run.data.root)
    evaluated = pq.read_table(run_folder(run).predictions("val")).to_pylist()
    files = [next(root.glob(f"*/{name}.mhd")) for name in sorted({row["scan_id"] for row in evaluated})]
    lines: list[str] = []
    options = Options(tmp_path, candidates=root / "candidates.csv")
    predict(run.out_path, files, options, LocalExecutor(), lines.append)
    threshold = read_metrics(run_folder(run))["val"]["threshold"]
    for file in files:
        content = json.loads((tmp_path / f"{file.stem}_findings.json").read_text())
        assert content["recall_threshold"] == {"threshold": threshold, "target_recall": 0.9}
        rows = [row for row in evaluated if row["scan_id"] == file.stem]
        found = {tuple(row[f"coord{axis}"] for axis in "XYZ"): row["probability"] for row in content["findings"]}
        expected = {(-row["x_mm"], -row["y_mm"], row["z_mm"]): row["probabilities"][1] for row in rows}
        assert len(found) == len(expected) == 12
        for point, probability in expected.items():
            assert found[tuple(round(value, 3) for value in point)] == pytest.approx(probability, abs=1e-6)
        above = sum(row["probabilities"][1] >= threshold for row in rows)
        assert any(f"{above} of 12 findings have p ≥ " in line for line in lines)
    found_lines = [line for line in lines if line.startswith("predict: ")]
    assert all("chosen for a recall of 0.90" in line and "operating point" not in line for line in found_lines)


def test_the_report_shows_misses_and_false_positives(run: Experiment, tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", read_run(run.out_path, open_store(run.store_path)))
    page = (tmp_path / "report.html").read_text()
    section = page[page.index('<section id="whole-scans">') :]
    section = section[: section.index("</section>")]
    metrics = whole_scans(run, "test")
    findings, nodules = read_findings(run_folder(run), "test")
    missed = sum(not each >= metrics["threshold"] for each in nodules["probability"].to_pylist())
    false = min(6, findings["outcome"].to_pylist().count("false positive"))
    assert section.count("data:image/png") == min(6, missed) + false
    never = np.isnan(nodules["proposed"].to_numpy()).sum()
    assert f"{missed} of 8 nodules are not found at the operating point, {never} of them were not proposed" in section
    assert "Sensitivity of the proposals" in section
    assert "operating point, p ≥" in section
    assert section.index("Sensitivity of the proposals") < section.index("CPM")
    (size,) = [line for line in section.split("<tr>") if ">all<" in line][:1]
    assert '<td class="number">8</td>' in size
