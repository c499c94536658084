"""The W&B workspace of a project: validation and detection, metrics against model size, and trials of searches."""

import wandb_workspaces.reports.v2.interface as panels
from wandb_workspaces.workspaces.interface import RunsetSettings, Section, Workspace

from voxray.config.tasks import TASKS
from voxray.metrics.registry import epoch_metrics, find_metric

NAME = "Voxray"
TRAINING = ("loss", "accuracy", "dice")  # of training beside validation
DETECTION = ("final/val/whole_scans/cpm", "final/test/whole_scans/cpm")  # once, after the evaluation
GOALS = ("val/recall_at_precision", "val/dice")  # against parameters and settings
PARAMETERS = "parameters"  # of a run's config
SETTINGS = ("training.learning_rate", "training.batch_size", "training.weight_decay", PARAMETERS)


def build_workspace(entity: str, project: str, monitor: str = "loss") -> Workspace:
    """The workspace of a user's or team's project, not yet saved; its panels display what `Tracker` logs.

    The monitor of an experiment is one of its goals if higher is better.
    """
    chosen = (f"val/{monitor}",) if find_metric(monitor).higher_is_better else ()
    goals = tuple(dict.fromkeys((*chosen, *GOALS)))
    table = panels.WeavePanelSummaryTable(table_name="trials")
    sections = [
        *(Section(task.capitalize(), panels=[_curve(key) for key in _keys(task)], is_open=True) for task in TASKS),
        Section("Detection", panels=[_curve("val/cpm"), *map(_bars, DETECTION)], is_open=True),
        Section("Training", panels=[_curve(f"train/{key}", f"val/{key}") for key in TRAINING], is_open=True),
        Section("Pareto", panels=[_front(key) for key in goals], is_open=True),
        Section("Trials", panels=[*map(_parallel, goals), table], is_open=True),
    ]
    settings = RunsetSettings(pinned_columns=[f"summary:{key}" for key in goals] + [f"config:{PARAMETERS}.value"])
    return Workspace(entity=entity, project=project, name=NAME, sections=sections, runset_settings=settings)


def describe_workspace(workspace: Workspace) -> list[str]:
    """A line for each panel."""
    return [f"{section.name}: {_describe(panel)}" for section in workspace.sections for panel in section.panels]


def _keys(task: str) -> list[str]:
    """The validation metrics of a task's epochs that do not depend on the classes."""
    keys = epoch_metrics(task, ("negative", "positive"))
    return [f"val/{key}" for key in keys if key != "loss" and "/" not in key]


def _curve(*keys: str) -> panels.LinePlot:
    return panels.LinePlot(title=", ".join(keys), x="Step", y=list(keys), title_x="epoch")


def _bars(key: str) -> panels.BarPlot:
    return panels.BarPlot(title=key, metrics=[key])


def _front(key: str) -> panels.ScatterPlot:
    # The running maximum from the smallest network on is the Pareto front.
    return panels.ScatterPlot(
        title=f"{key} against parameters",
        x=panels.Config(PARAMETERS),
        y=panels.SummaryMetric(key),
        log_x=True,
        running_ymax=True,
    )


def _parallel(key: str) -> panels.ParallelCoordinatesPlot:
    settings = [panels.ParallelCoordinatesPlotColumn(metric=panels.Config(setting)) for setting in SETTINGS]
    columns = [*settings, panels.ParallelCoordinatesPlotColumn(metric=panels.SummaryMetric(key))]
    return panels.ParallelCoordinatesPlot(title=f"Settings of the trials and {key}", columns=columns)


def _describe(panel: object) -> str:
    match panel:
        case panels.LinePlot():
            return f"{panel.title} over the epochs"
        case panels.BarPlot():
            return f"{panel.title} of each run"
        case panels.WeavePanelSummaryTable():
            return f"the table '{panel.table_name}' that a search logs"
        case panels.ScatterPlot() | panels.ParallelCoordinatesPlot():
            return str(panel.title)
    raise TypeError(f"no description of the panel {panel}")
