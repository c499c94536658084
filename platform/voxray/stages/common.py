"""What stages share."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow.compute as pc

from voxray.config.experiment import Experiment
from voxray.evaluation.findings import WHOLE_SCANS
from voxray.metrics.registry import find_metric
from voxray.reporting.text.class_rows import class_lines
from voxray.reporting.text.metric_values import LIST, describe, inline_label, label_in
from voxray.reporting.text.numbers import decimals, interval_text
from voxray.reporting.text.sentences import operating_point_text
from voxray.runs.folder import RunFolder, run_folder
from voxray.runs.records import read_records
from voxray.store.read import PatchStore

OnStatus = Callable[[str], None]


def is_finished(folder: RunFolder, stage: str, key: str) -> bool:
    """Whether a stage is finished with the inputs that the key names."""
    record = folder.finished(stage)
    return record is not None and record.key == key


def remove_joined(experiment: Experiment) -> None:
    """Remove the joined metrics of the cross-validation whose fold is about to change."""
    folder, fold = run_folder(experiment), experiment.split.fold
    joined = RunFolder(folder.path.parent)
    if fold is not None and folder.path.name == f"fold_{fold}" and "folds" in read_records(joined.stages):
        joined.begin("folds")
        joined.remove_evaluation()


def echo_metrics(metrics: dict[str, Any], monitor: str, on_status: OnStatus) -> None:
    """Report the metrics of each split with their confidence intervals, the monitor first, and those of each class."""
    for split, values in _with_whole_scans(metrics):
        names = [name for name in values["intervals"] if name == monitor or find_metric(name).in_terminal]
        names.sort(key=lambda name: name != monitor)
        on_status(f"evaluate: {split}: {', '.join(_format_metric(values, name) for name in names)}")
        if population := values.get("population"):
            on_status(f"evaluate: {split}, re-weighted to the list {_format_population(values, population, names)}")
        withheld = [name for name in names if values[name] is not None and values["intervals"][name] is None]
        for reason in dict.fromkeys(describe(name).no_interval for name in withheld):
            these = [name for name in withheld if describe(name).no_interval == reason]
            which = "" if these == names else f" ({', '.join(map(inline_label, these))})"
            on_status(f"note: {split}: {reason}{which}")
        for line in class_lines(values):
            on_status(f"  {line}")
        if "max_false_positives_per_scan" in values:
            on_status(f"evaluate: {split}: {operating_point_text(values)}")
        if values.get("scans_without_proposals"):
            on_status(f"note: {split}: {values['scans_without_proposals']:,} scans have no proposals, as without lungs")


def _with_whole_scans(metrics: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The metrics of each split, and after them those of whole scans."""
    for split, values in metrics.items():
        yield split, values
        if whole := values.get(WHOLE_SCANS):
            yield f"{split}, {whole['scans']:,} whole scans, {whole['nodules']:,} nodules", whole


def note_undefined(metrics: dict[str, Any], store: PatchStore, on_status: OnStatus) -> None:
    """Say which metrics of a split are undefined because it has no patch of a class."""
    if store.info.masks:
        return
    for split, values in metrics.items():
        labels = set(pc.unique(store.rows(split)["label"]).to_pylist())
        absent = [f"'{name}'" for label, name in enumerate(store.info.classes) if label not in labels]
        undefined = [inline_label(name) for name in values["intervals"] if values[name] is None]
        if absent and undefined:
            what = f"{', '.join(undefined)} {'is' if len(undefined) == 1 else 'are'} undefined"
            on_status(f"note: {split}: no patch of class {' or '.join(absent)}, so that {what}")


def note_calibration(metrics: dict[str, Any], on_status: OnStatus) -> None:
    """Say why a temperature is not one that was fitted."""
    record = metrics.get("val", {}).get("calibration")
    if record is not None and record["note"]:
        on_status(f"note: the temperature of the calibration is {record['temperature']:g}: {record['note']}")


def _format_population(values: dict[str, Any], population: dict[str, Any], names: Sequence[str]) -> str:
    """The mix of the list, and those metrics that depend on it."""
    counts = zip(population["class_counts"], population["classes"], strict=True)
    chosen = [name for name in population["intervals"] if name in names or find_metric(name).in_terminal]
    texts = [_format_metric(population, name) for name in chosen]
    same = [_format_metric(values, name) for name in chosen]
    changed = [text for text in texts if text not in same]
    return f"({', '.join(f'{number:,} {name}' for number, name in counts)}): {', '.join(changed) or 'the same'}"


def _format_metric(values: dict[str, Any], name: str) -> str:
    of_list = LIST if label_in(name, values).endswith(LIST) else ""
    text, ends = f"{name}{of_list} {decimals(values.get(name))}", values["intervals"].get(name)
    return f"{text} [{interval_text(ends[0], ends[1], between=', ')}]" if ends else text
