"""Evaluation of a classifier of candidates on whole scans: what is searched, the operating point, what is written."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from voxray.config.experiment import Experiment
from voxray.datasets.annotated import is_annotated
from voxray.datasets.layouts import find_layout
from voxray.datasets.pseudonyms import files_of
from voxray.errors import WorkError
from voxray.evaluation.candidates import write_froc
from voxray.evaluation.finding_tables import Case, find_entries, match_scans, summarize_findings
from voxray.inference.detector import unmerged_rows
from voxray.inference.find import Found
from voxray.metrics.compute import without_nan
from voxray.patches.plan import store_provenance
from voxray.patches.planned import planned_manifest
from voxray.patches.scans import split_scans
from voxray.runs.folder import run_folder
from voxray.storage.atomic import write_json
from voxray.store.layout import write_parquet
from voxray.store.matching import check_provenance
from voxray.store.read import PatchStore
from voxray.training.checkpoint import read_metadata, write_metadata

WHOLE_SCANS = "whole_scans"  # key of the metrics of a split
SCAN = ("split", "scan_id", "patient_id", "path")


def searches_scans(experiment: Experiment, store: PatchStore) -> bool:
    """Whether the whole scans of the evaluated splits are searched for candidates."""
    return store.info.task == "classification" and searches_whole_scans(experiment, len(store.info.classes))


def searches_whole_scans(experiment: Experiment, classes: int) -> bool:
    """The same of a classification, by the number of its classes."""
    is_detector = find_layout(experiment.data.layout).samples_points and classes == 2
    return is_detector and experiment.detection.proposals != "list" and is_annotated(experiment)


def scans_to_search(experiment: Experiment, store: PatchStore, splits: Sequence[str]) -> list[Case]:
    """The scans of splits: split, scan_id, patient_id, path and `file`; also those without a patch.

    Scans that ingest could not read are left out. The path is relative to the data set's root, and a pseudonym too
    where scans have one.

    Raises
    ------
    StoreError
        The data set lists other scans or samples than the store was made from.
    """
    manifest = planned_manifest(experiment)
    provenance = store_provenance(experiment, manifest.digest(), experiment.privacy.key_digest())
    check_provenance(store.path, store.info.provenance, provenance)
    lost = store.quarantine.filter(pc.is_null(store.quarantine["row"]))["scan_id"].combine_chunks()
    scans = split_scans(manifest, experiment)
    evaluated = pc.is_in(scans["split"], value_set=pa.array(splits, pa.string()))
    scans = scans.filter(pc.and_(evaluated, pc.invert(pc.is_in(scans["scan_id"], value_set=lost))))
    cases: list[Case] = scans.to_pylist()
    path = "scan_id" if store.info.private else "path"
    files = files_of(experiment, cases)
    named = [{**case, "path": case[path], "file": file} for case, (file, _) in zip(cases, files, strict=True)]
    return [{key: case[key] for key in (*SCAN, "file")} for case in named]


def searched_scans(cases: Sequence[Case], outcomes: Iterable[Found]) -> list[Case]:
    """The cases without `file`, with what was found in them, as `match_scans` takes them.

    Raises
    ------
    WorkError
        Scans could not be searched: metrics without them would not be those of the split.
    """
    found = {outcome.scan_id: outcome for outcome in outcomes}
    if problems := [found[case["scan_id"]].problem for case in cases if found[case["scan_id"]].problem]:
        problem = f"{len(problems)} of {len(cases)} scans cannot be searched: {problems[0].removesuffix('.')}"
        remedy = "Repair them, or take only the list's candidates with --set detection.proposals=list"
        raise WorkError("evaluate", problem, remedy)
    return [{**{key: case[key] for key in SCAN}, **_classified(found[case["scan_id"]])} for case in cases]


def _classified(found: Found) -> Case:
    assert found.proposals is not None
    assert found.probabilities is not None
    kept = np.zeros(len(found.proposals), bool)
    kept[unmerged_rows(found.proposals, found.probabilities)] = True
    points = {"centers_mm": found.proposals.centers_mm, "diameters_mm": found.proposals.diameters_mm}
    return {**points, "probabilities": found.probabilities, "kept": kept}


def write_whole_scans(
    experiment: Experiment, metrics: Mapping[str, dict[str, Any]], searched: Sequence[Case]
) -> dict[str, Any]:
    """Write what was found in the scans of each split, its curve, and the operating point that validation gives.

    Returns the content of ``metrics.json``, which gets ``whole_scans`` in each split.
    """
    folder, settings = run_folder(experiment), experiment.detection
    ordered = sorted(searched, key=lambda case: str(case["scan_id"]))
    cases = {split: [case for case in ordered if case["split"] == split] for split in metrics}
    tables = {split: match_scans(experiment, of_split) for split, of_split in cases.items() if of_split}
    curve = find_entries(*tables["val"]).curve(len(cases["val"]))
    threshold = curve.threshold_at(settings.false_positives_per_scan)
    joined = dict(metrics)
    for split, (findings, nodules) in tables.items():
        write_parquet(findings, folder.findings(split))
        write_parquet(nodules, folder.nodules(split))
        measured = {
            "proposals": settings.proposals,
            **summarize_findings(findings, nodules, len(cases[split]), [threshold], experiment.seed),
            "threshold": threshold,
            "max_false_positives_per_scan": settings.false_positives_per_scan,
        }
        joined[split] = {**metrics[split], WHOLE_SCANS: write_froc(measured, folder.findings_froc(split))}
    content = without_nan(joined)
    write_json(folder.metrics, content)
    _keep_operating_point(experiment, threshold, content["val"][WHOLE_SCANS]["recall"])
    return content


def _keep_operating_point(experiment: Experiment, threshold: float, sensitivity: float | None) -> None:
    """Write the operating point of whole scans into the model, as prediction uses it."""
    if math.isnan(threshold):
        return
    model = run_folder(experiment).model
    limit = experiment.detection.false_positives_per_scan
    point = {"threshold": threshold, "false_positives_per_scan": limit, "sensitivity": sensitivity}
    write_metadata(model, {**read_metadata(model), "operating_point": point})
