"""The W&B workspace of a project: recall, Dice, accuracy against parameters, and the trials of its searches."""

import wandb_workspaces.reports.v2.interface as panels
from wandb_workspaces.workspaces.interface import RunsetSettings, Section, Workspace

NAME = "Voxray"
RECALL = ("val/recall", "val/recall_at_precision", "val/roc_auc", "val/average_precision")
DICE = ("val/dice",)
LOSS = ("train/loss", "val/loss")
PARAMETERS = "parameters"  # of a run's config
SETTINGS = ("training.learning_rate", "training.batch_size", "training.weight_decay", PARAMETERS)


def build_workspace(entity: str, project: str) -> Workspace:
    """The workspace, not yet written; its panels read what `tracking` logs.

    Parameters
    ----------
    entity : str
        User or team at W&B.
    project : str
    """
    goals = (RECALL[1], DICE[0])
    table = panels.WeavePanelSummaryTable(table_name="trials")
    sections = [
        Section("Recall", panels=[_curve(name) for name in RECALL], is_open=True),
        Section("Dice", panels=[*map(_curve, DICE), _curve(*LOSS)], is_open=True),
        Section("Pareto", panels=[_front(name) for name in goals], is_open=True),
        Section("Trials", panels=[*map(_parallel, goals), table], is_open=True),
    ]
    settings = RunsetSettings(pinned_columns=[f"summary:{name}" for name in goals] + [f"config:{PARAMETERS}.value"])
    return Workspace(entity=entity, project=project, name=NAME, sections=sections, runset_settings=settings)


def describe_workspace(workspace: Workspace) -> list[str]:
    """A line for each panel."""
    return [f"{section.name}: {_words(panel)}" for section in workspace.sections for panel in section.panels]


def _curve(*names: str) -> panels.LinePlot:
    return panels.LinePlot(title=", ".join(names), x="Step", y=list(names), title_x="epoch")


def _front(name: str) -> panels.ScatterPlot:
    # The running maximum from the smallest network on is the Pareto front.
    return panels.ScatterPlot(
        title=f"{name} against parameters",
        x=panels.Config(PARAMETERS),
        y=panels.SummaryMetric(name),
        log_x=True,
        running_ymax=True,
    )


def _parallel(name: str) -> panels.ParallelCoordinatesPlot:
    settings = [panels.ParallelCoordinatesPlotColumn(metric=panels.Config(key)) for key in SETTINGS]
    columns = [*settings, panels.ParallelCoordinatesPlotColumn(metric=panels.SummaryMetric(name))]
    return panels.ParallelCoordinatesPlot(title=f"Settings of the trials and {name}", columns=columns)


def _words(panel: object) -> str:
    match panel:
        case panels.LinePlot():
            return f"{panel.title} over the epochs"
        case panels.WeavePanelSummaryTable():
            return f"the table '{panel.table_name}' that a search logs"
        case panels.ScatterPlot() | panels.ParallelCoordinatesPlot():
            return str(panel.title)
    raise TypeError(f"no words for {panel}")
