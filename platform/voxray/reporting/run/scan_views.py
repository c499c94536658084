"""One scan of a run in full: all its slices, and a view in space, with its masks or its findings."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from voxray.config.experiment import Experiment
from voxray.datasets.annotated import points_of
from voxray.datasets.layouts import find_layout
from voxray.datasets.pseudonyms import files_of
from voxray.errors import VoxrayError
from voxray.reporting.run.contents import Case, RunContents
from voxray.reporting.text.numbers import SPLIT_NAMES, count, plural, probability
from voxray.scans.geometry import world_to_voxel
from voxray.scans.read import open_scan
from voxray.storage.paths import exists
from voxray.visualization.animation import TINT, Slices
from voxray.visualization.contact_sheet import Sheet, make_sheet
from voxray.visualization.overlay import LOW_HIGH, lighter
from voxray.visualization.slices import is_picture, shorten_id
from voxray.visualization.style import class_color
from voxray.visualization.turning import Surface, balls, can_turn, label_surfaces, render_turning
from voxray.volume import Volume

MARK_MM, LEAST_MARK = 9.0, 7.0  # radius of a mark on a slice; its least number of pixels
SPHERE_SHARE = 0.024  # radius of a mark in space, of the longest side of the scan
# Kind of finding → color. The shapes of the marks differ too.
OUTCOMES = {"detected": "#00c48f", "missed": "#ff7a1a", "false positive": "#56b4e9"}
MOST_FALSE = 25  # false positives that are marked: those with the highest probability
SAMPLED_VOXELS = 10**6  # that gray levels are chosen from

Findings = Sequence[tuple[NDArray[np.float64], str]]  # voxel and outcome of each


@dataclass(frozen=True)
class Mark:
    """A finding on a sheet: the center and radius in pixels, and its outcome."""

    x: float
    y: float
    radius: float
    outcome: str


@dataclass(frozen=True)
class ScanViews:
    """The views of one scan, or the reason why there are none.

    `turning` is a loop and its still, of `panels` side by side; None where a scan is too flat. `marks` lie on the
    sheet.
    """

    scan_id: str = ""
    caption: str = ""
    sheet: Sheet | None = None
    turning: tuple[str, str] | None = None
    panels: tuple[str, ...] = ()
    marks: tuple[Mark, ...] = ()
    oriented: bool = True
    problem: str = ""
    outcomes: dict[str, str] = field(default_factory=dict)

    @property
    def short_id(self) -> str:
        """The end of the scan's name."""
        return shorten_id(self.scan_id)


def segmentation_views(
    scan_id: str,
    caption: str,
    scan: Volume,
    truth: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    levels: tuple[float, float],
    classes: int,
) -> ScanViews:
    """The views of a segmented scan; the label maps are (x, y, z), `levels` the intensities of black and white."""
    sheet = make_sheet(Slices(scan.array[0], truth, prediction, scan.spacing_mm, levels))
    turning = None
    if can_turn(scan.shape):
        colors = [class_color(label) for label in range(1, classes)]
        shades = (colors, [lighter(color, TINT) for color in colors])
        maps = zip((truth, prediction), shades, strict=True)
        panels = [label_surfaces(labels, scan.spacing_mm, tones) for labels, tones in maps]
        turning = render_turning(scan.array[0], scan.spacing_mm, panels)
    return ScanViews(scan_id, caption, sheet, turning, ("ground truth", "prediction"))


def classifier_views(run: RunContents) -> ScanViews | None:
    """The views of the scan with most positives of the first split; None where scans are single slices or pictures."""
    row = displayed_scan(run)
    if row is None:
        return None
    if run.scan_problem or not exists(run.experiment.data_path):
        return ScanViews(problem=run.scan_problem or "the folder of the scans no longer exists")
    try:
        ((file, _),) = files_of(run.experiment, [row])
        scan = open_scan(file)
        return _draw(run, row, scan) if scan.shape[2] > 1 else None
    except (VoxrayError, OSError) as error:
        return ScanViews(problem=public_problem(run.experiment, error))


def public_problem(experiment: Experiment, error: Exception) -> str:
    """Why scans cannot be displayed; without details where the run has pseudonyms, because they contain names."""
    return "its files are missing or have changed" if experiment.privacy.has_key else str(error).removesuffix(".")


def displayed_scan(run: RunContents) -> Case | None:
    """The row of the scan that a classifier's report displays; None where its data are pictures."""
    if not run.predictions or not run.splits:
        return None
    rows = run.predictions[run.splits[0]].rows
    if not rows.num_rows or _is_flat(rows["path"][0].as_py()):
        return None
    positive = pc.cast(pc.greater(rows["label"], 0), pa.int64())
    table = (
        pa.table({"scan_id": rows["scan_id"], "positives": positive})
        .group_by("scan_id")
        .aggregate([("positives", "sum")])
    )
    chosen = table.sort_by([("positives_sum", "descending"), ("scan_id", "ascending")])["scan_id"][0]
    row: Case = rows.filter(pc.equal(rows["scan_id"], chosen)).slice(0, 1).to_pylist()[0]
    return row


def _is_flat(path: str) -> bool:
    """Whether a file holds a single slice by its format; an image of a stack may have several."""
    return is_picture(path) and not path.rpartition("/")[2].isdecimal()


def _draw(run: RunContents, row: Case, scan: Volume) -> ScanViews:
    picture = is_picture(row["path"])
    # A stack has no axes of a patient, and its lines are displayed from top to bottom.
    channel = scan.array[0][::-1, ::-1] if picture else scan.array[0]
    intensity = run.experiment.intensity
    window = intensity.windows[0] if intensity.kind == "window" else _sampled_levels(channel)
    empty = np.zeros(scan.shape, np.uint8)
    sheet = make_sheet(Slices(channel, empty, empty, scan.spacing_mm, (float(window[0]), float(window[1]))))
    findings = _findings(run, row, scan) if find_layout(run.experiment.data.layout).samples_points else []
    caption = _caption(run, row, findings)
    false = [finding for finding in findings if finding[1] == "false positive"]
    findings = [*(finding for finding in findings if finding[1] != "false positive"), *false[:MOST_FALSE]]
    turning = None
    if can_turn(scan.shape):
        turning = render_turning(channel, scan.spacing_mm, [_balls(scan, findings)])
    marks = tuple(_mark(sheet, scan, voxel, outcome) for voxel, outcome in findings)
    outcomes = {outcome: OUTCOMES[outcome] for outcome in OUTCOMES if outcome in {kind for _, kind in findings}}
    return ScanViews(row["scan_id"], caption, sheet, turning, (), marks, not picture, outcomes=outcomes)


def _balls(scan: Volume, findings: Findings) -> list[Surface]:
    """A ball at each finding."""
    if not findings:
        return []
    extent_mm = np.array(scan.shape) * scan.spacing_mm
    centers = (np.stack([voxel for voxel, _ in findings]) + 0.5) * scan.spacing_mm - extent_mm / 2
    return [balls(centers, SPHERE_SHARE * float(extent_mm.max()), [OUTCOMES[outcome] for _, outcome in findings])]


def _sampled_levels(channel: NDArray[np.generic]) -> tuple[float, float]:
    step = max(1, round((channel.size / SAMPLED_VOXELS) ** (1 / 3)))
    low, high = np.percentile(channel[::step, ::step, ::step].astype(np.float64), LOW_HIGH)
    return float(low), float(high)


def _findings(run: RunContents, row: Case, scan: Volume) -> Findings:
    """Voxel and outcome of each candidate of a scan that is positive or predicted as positive, the surest first."""
    predictions = run.predictions[run.splits[0]]
    rows = predictions.rows
    here = np.flatnonzero(np.asarray(pc.equal(rows["scan_id"], row["scan_id"])))
    here = here[np.argsort(predictions.probabilities[here, 0], kind="stable")]
    predicted, labels = predictions.predicted(run.threshold)[here], predictions.labels[here]
    voxels = world_to_voxel(scan.affine, points_of(rows)[here])
    findings = []
    for voxel, label, guess in zip(voxels, labels.tolist(), predicted.tolist(), strict=True):
        if label or guess:
            outcome = "detected" if label == guess else "missed" if label else "false positive"
            findings.append((voxel, outcome))
    return findings


def _mark(sheet: Sheet, scan: Volume, voxel: NDArray[np.float64], outcome: str) -> Mark:
    """The mark of a finding on the displayed slice that is nearest to it."""
    x, y, z = voxel.tolist()
    tile = min(sheet.tiles, key=lambda tile: abs(tile.z - z))
    per_mm = sheet.tile_width / (scan.spacing_mm[0] * (sheet.box[0].stop - sheet.box[0].start))
    return Mark(*sheet.position(tile, x, y), max(MARK_MM * per_mm, LEAST_MARK), outcome)


def _caption(run: RunContents, row: Case, findings: Findings) -> str:
    where = f"{SPLIT_NAMES[run.splits[0]].lower()} split"
    if find_layout(run.experiment.data.layout).samples_points:
        outcomes = [outcome for _, outcome in findings]
        detected, missed = outcomes.count("detected"), outcomes.count("missed")
        positives = detected + missed
        name = run.classes[1] if len(run.classes) == 2 else "finding"
        noun = name if positives == 1 else plural(name)
        false = outcomes.count("false positive")
        marked = f", of which the {MOST_FALSE} with the highest probability are marked" if false > MOST_FALSE else ""
        point = "" if run.threshold is None else f" at p ≥ {probability(run.threshold)}"
        return (
            f"{where}, candidates of the list{point}: {positives} {noun}, {detected} detected, {missed} missed, "
            f"{count(false, 'false positive')}{marked}"
        )
    predictions = run.predictions[run.splits[0]]
    number = predictions.rows["scan_id"].to_pylist().index(row["scan_id"])
    label = int(predictions.predicted(run.threshold)[number])
    share = probability(float(predictions.probabilities[number][label]))
    return f"{where}: true class {run.classes[row['label']]}, predicted {run.classes[label]} (probability {share})"
