"""The page of a cross-validation: figures of all patients together, and of each fold."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from voxray.config.experiment import Experiment
from voxray.report.html import template_environment
from voxray.report.run.reproduce import settings_text
from voxray.report.text.metric_values import FIGURES, MISSING, count, decimals, plural
from voxray.report.text.scan_sentences import family_of
from voxray.storage.atomic import write_text
from voxray.storage.paths import AnyPath
from voxray.visualization.style import MUTED, SPLIT_COLORS, WIDE, new_axes, styled, to_svg, unit_axis


def write_fold_report(path: AnyPath, experiment: Experiment, metrics: Mapping[str, Any]) -> None:
    """Write the page so that it appears whole or not at all.

    Parameters
    ----------
    path : Place
        The HTML file, beside the folders of the folds.
    experiment : Experiment
    metrics : mapping
        Content of the cross-validation's ``metrics.json``.
    """
    test = metrics["test"]
    names = list(test["folds"])
    rows = [(_name(key), _pooled(test, key), [decimals(value) for value in test["folds"][key]]) for key in names]
    page = template_environment().get_template("folds.html.jinja")
    text = page.render(
        name=experiment.name,
        folds=experiment.split.folds,
        size=count(test["patients"], "patient"),
        units=plural(test["level"]) if "level" in test else "scans",
        headline=rows[names.index("roc_auc" if "roc_auc" in names else "dice")],
        rows=rows,
        chart=_spread(test, names),
        settings=settings_text(experiment),
    )
    write_text(path, text + "\n")


def _name(key: str) -> str:
    family = key.partition("/")
    if key in FIGURES:
        return FIGURES[key][0]
    return f"{family_of(family[0]).name}{', ' if family[2] else ''}{family[2]}"


def _pooled(test: Mapping[str, Any], key: str) -> tuple[str, str]:
    low, high = test["intervals"][key]
    return decimals(test[key]), MISSING if low is None else f"{decimals(low)} to {decimals(high)}"


@styled
def _spread(test: Mapping[str, Any], names: Sequence[str]) -> Markup:
    """Figures between 0 and 1: a dot for each fold, a mark for all patients with its interval."""
    shares = [name for name in names if all(value is None or 0 <= value <= 1 for value in test["folds"][name])]
    figure, axes = new_axes((WIDE[0] * 1.4, 0.6 + 0.32 * len(shares)), "", "")
    for line, name in enumerate(reversed(shares)):
        values = [value for value in test["folds"][name] if value is not None]
        axes.plot(values, [line] * len(values), "o", color=MUTED, markersize=4, alpha=0.6, markeredgewidth=0)
        low, high = test["intervals"][name]
        if low is not None:
            axes.plot([low, high], [line, line], color=SPLIT_COLORS["test"], linewidth=1.2)
        if test[name] is not None:
            axes.plot([test[name]], [line], "|", color=SPLIT_COLORS["test"], markersize=13, markeredgewidth=2.4)
    axes.set_yticks(range(len(shares)), [_name(name) for name in reversed(shares)])
    unit_axis(axes, x=True)
    return to_svg(figure, "folds", "Figures of each fold and of all patients together")
