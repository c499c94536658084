"""What a segmentation's report shows beyond what every report does: figures, scans one by one, contours."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from voxray.report.charts.scan_strips import strip_charts
from voxray.report.run.cases import choose_cases, ranked_cases, show_cases
from voxray.report.run.contents import Case, RunContents
from voxray.report.text.metric_values import SPLIT_NAMES, Card, Figure, cautions_of_splits, count, minus
from voxray.report.text.scan_sentences import (
    ALL,
    family_of,
    figure_rows,
    headline_figures,
    number_text,
    scan_cautions,
    scan_figure,
    scans_sentence,
    with_unit,
)
from voxray.visualization.animation import TINT
from voxray.visualization.overlay import lighter
from voxray.visualization.slices import shorten_id
from voxray.visualization.style import class_color

MOST_CLASSES = 3  # that a headline names one by one
WORST_CASES = 10


@dataclass(frozen=True)
class FamilyRows:
    """The lines of one kind of figure in the table: for the mean or a class, a figure of each split."""

    name: str
    meaning: str
    lines: list[tuple[str, dict[str, Figure]]]


@dataclass(frozen=True)
class CaseRow:
    """A line of the table of scans; `figures` are texts."""

    scan_id: str
    short_id: str
    figures: list[str]


def segmentation_parts(run: RunContents) -> dict[str, Any]:
    """The variables of ``segmentation.html.jinja`` beside the shared ones."""
    split = run.splits[0]
    metrics = {name: run.metrics[name] for name in run.splits}
    families = [_family(run, stem, keys) for stem, keys in figure_rows(metrics, run.classes)]
    ranked = ranked_cases(run.cases[split])
    columns = _columns(run)
    # Only scans that are shown are marked.
    chosen = {split: choose_cases(run.cases[split])}
    return {
        "cards": [_card(run, name) for name in run.splits],
        "cautions": [
            *cautions_of_splits(metrics, "The epoch was chosen on the validation scans"),
            *scan_cautions(run.cases, run.classes),
        ],
        "families": families,
        "missing_notes": list(_missing_notes(families)),
        "strips": strip_charts(run, chosen),
        "legend": [(name, class_color(label), lighter(class_color(label), TINT)) for label, name in _foreground(run)],
        "judged": SPLIT_NAMES[split].lower(),
        "scans_there": run.experiment.data_path.is_dir(),
        "shown": show_cases(run, split),
        "verdict": lambda case: _verdict(run, case),
        "case_columns": _column_groups(columns),
        "worst": [_case_row(case, columns) for case in ranked[:WORST_CASES]],
        "ranked": len(ranked),
        "undefined": len(run.cases[split]) - len(ranked),
        "levels": _levels(run),
        "channels": run.store.info.channels,
    }


def _foreground(run: RunContents) -> list[tuple[int, str]]:
    return list(enumerate(run.classes))[1:]


def _card(run: RunContents, split: str) -> Card:
    metrics = run.metrics[split]
    size = f"{count(metrics['scans'], 'scan')} of {count(metrics['patients'], 'patient')}"
    figures = headline_figures(metrics, run.classes, run.experiment.evaluation.tolerance_mm, MOST_CLASSES)
    sentence = scans_sentence(metrics, run.cases[split], run.classes, split)
    return Card(split, SPLIT_NAMES[split], size, sentence, tuple(figures))


def _family(run: RunContents, stem: str, keys: list[str]) -> FamilyRows:
    tolerance = run.experiment.evaluation.tolerance_mm
    lines = [
        (key.partition("/")[2] or ALL, {split: scan_figure(key, run.metrics[split], tolerance) for split in run.splits})
        for key in keys
    ]
    family = family_of(stem)
    return FamilyRows(family.name, family.meaning.format(tolerance), lines)


def _missing_notes(families: list[FamilyRows]) -> Iterator[str]:
    """Why a figure is an en dash."""
    for family in families:
        for _, figures in family.lines:
            for split, figure in figures.items():
                if figure.missing:
                    yield f"{figure.name}, {SPLIT_NAMES[split].lower()}: {figure.missing}"


def _columns(run: RunContents) -> list[str]:
    """Figures of a scan that the table of scans shows."""
    cases = run.cases[run.splits[0]]
    names = run.classes[1:]
    own = [f"{stem}/{name}" for stem in ("dice", "hd95_mm") for name in names]
    wanted = own if len(names) == 1 else ["dice", *own]
    return [key for key in wanted if cases and key in cases[0]]


def _column_groups(columns: list[str]) -> list[tuple[str, list[str]]]:
    """Kinds of figures, each with the classes that it has a column for."""
    groups: dict[str, list[str]] = {}
    for key in columns:
        stem, _, name = key.partition("/")
        family = family_of(stem)
        title = f"{family.name} ({family.unit})" if family.unit else family.name
        groups.setdefault(title, []).append(name or ALL)
    return list(groups.items())


def _case_row(case: Case, columns: list[str]) -> CaseRow:
    scan_id = str(case["scan_id"])
    texts = [number_text(case.get(key), family_of(key)) for key in columns]
    return CaseRow(scan_id, shorten_id(scan_id), texts)


def _verdict(run: RunContents, case: Case) -> list[tuple[str, str, str]]:
    """For each class its name, its color, and its figures in this scan."""
    told = []
    for label, name in _foreground(run):
        texts = [
            f"{family_of(stem).name} {with_unit(case[f'{stem}/{name}'], family_of(stem))}"
            for stem in ("dice", "hd95_mm")
            if f"{stem}/{name}" in case
        ]
        told.append((name, class_color(label), ", ".join(texts)))
    return told


def _levels(run: RunContents) -> str:
    spec = run.experiment.intensity
    if spec.kind == "window":
        return minus("gray from {:g} to {:g}".format(*spec.windows[0]))
    return "gray from the 0.5th to the 99.5th percentile of each scan"
