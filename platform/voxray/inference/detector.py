"""A trained classifier of candidates and a whole scan: where the findings are."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from voxray.config.experiment import Experiment
from voxray.datasets.layouts import find_layout
from voxray.errors import ConfigError
from voxray.inference.load import OperatingPoint, TrainedRun
from voxray.inference.mirrors import mirror_images, mirrors_of
from voxray.inference.proposing import foreground_map, load_proposing
from voxray.inference.sliding_window import Axes
from voxray.loader.normalize import scale_images
from voxray.patches.cut import Patch, center_boxes, cut_patches, prepare_volume, scan_statistics
from voxray.proposals.blobs import find_blobs
from voxray.proposals.lungs import find_lungs, grown
from voxray.proposals.peaks import find_peaks
from voxray.scans.geometry import canonical_volume
from voxray.scans.masks import check_finite
from voxray.volume import Volume

GRAY_LEVELS = 255  # of an 8-bit picture, above black
QUARTER_TURNS = 4
WALL_MM = 5.0  # beside the lungs: where the centers of nodules in the wall lie
NEEDS_A_LIST = "Give a list (--candidates), or evaluate the run with --set detection.proposals=log"

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class Candidates:
    """Points of a scan that are to be classified.

    Attributes
    ----------
    centers_mm : ndarray of float64, (n, 3)
        World RAS.
    diameters_mm : ndarray of float64, (n,)
        NaN where unknown.
    """

    centers_mm: Floats
    diameters_mm: Floats

    def __len__(self) -> int:
        return len(self.centers_mm)

    def __repr__(self) -> str:
        return f"<Candidates: {len(self)}>"


@dataclass(frozen=True, eq=False, repr=False)
class Findings:
    """Classified candidates of a scan, the most probable first.

    Attributes
    ----------
    centers_mm : ndarray of float64, (n, 3)
        World RAS.
    probabilities : ndarray of float64, (n,)
        Of the class that is searched for; NaN for a point of a list that lies outside the scan, at the end.
    diameters_mm : ndarray of float64, (n,)
        NaN where unknown.
    operating_point : OperatingPoint, optional
        Of a scan that was searched; None for a list, and where the run was not evaluated on whole scans.
    """

    centers_mm: Floats
    probabilities: Floats
    diameters_mm: Floats
    operating_point: OperatingPoint | None = None

    @property
    def threshold(self) -> float | None:
        """The probability of the operating point."""
        return None if self.operating_point is None else self.operating_point.threshold

    def count_above(self, threshold: float) -> int:
        """Findings that are at least so probable; they come first."""
        return int((self.probabilities >= threshold).sum())

    def count_known(self) -> int:
        """Findings inside the scan; they come before those without a probability."""
        return int(np.isfinite(self.probabilities).sum())

    def __len__(self) -> int:
        return len(self.probabilities)

    def __repr__(self) -> str:
        return f"<Findings: {len(self)}, the most probable {self.probabilities[:1].round(4).tolist()}>"


def classifies_candidates(experiment: Experiment) -> bool:
    """Whether a classifier is trained on patches around points, so that it answers with findings."""
    data = experiment.data
    return find_layout(data.layout).samples_points or data.picture_window is not None


class Detector:
    """Finds what a run was trained to tell from other candidates, by the mean probability of several runs.

    Raises
    ------
    ConfigError
        The runs were not trained on candidates of two classes.
    NotReadyError
        The network that proposes candidates is not trained.
    """

    def __init__(self, runs: Sequence[TrainedRun], *, tta: bool = False) -> None:
        first = runs[0]
        if first.task != "classification" or not classifies_candidates(first.experiment) or len(first.classes) != 2:
            problem = "this run was not trained to tell candidates of two classes apart"
            raise ConfigError(str(first.folder.path), problem, "Load it as a classifier or a segmenter")
        self.runs, self.tta = tuple(runs), tta
        self.settings = first.experiment.detection
        self.proposing = load_proposing(runs)

    @property
    def operating_point(self) -> OperatingPoint | None:
        """Of whole scans, of several runs the mean; None where one has none."""
        points = [run.operating_point for run in self.runs if run.operating_point is not None]
        if len(points) < len(self.runs):
            return None
        threshold = float(np.mean([point.threshold for point in points]))
        known = [point.sensitivity for point in points if point.sensitivity is not None]
        return OperatingPoint(threshold, points[0].false_positives_per_scan, float(np.mean(known)) if known else None)

    @property
    def recall_threshold(self) -> float | None:
        """The threshold for `classify`, of several runs the mean; None where one has none."""
        thresholds = [run.threshold for run in self.runs if run.threshold is not None]
        of_patches = self.runs[0].experiment.evaluation.level == "patch" and len(thresholds) == len(self.runs)
        return float(np.mean(thresholds)) if of_patches else None

    def propose(self, volume: Volume, where: str = "volume") -> Candidates:
        """The candidates of a scan, the most prominent or probable first; none where a chest CT shows no lungs.

        Networks that propose give the mean of their probabilities: those of the folds of all runs.

        Parameters
        ----------
        volume : Volume
            In HU, in any axes.
        where : str
            Name of the scan in messages.

        Raises
        ------
        ConfigError
            ``detection.proposals`` is a list.
        ScanError
            Voxels are not finite: a scan that cannot be searched is not one without candidates.
        """
        if self.settings.proposals == "list":
            raise ConfigError("detection.proposals", "this run classifies the points of a list only", NEEDS_A_LIST)
        volume = canonical_volume(volume.array, volume.affine)
        check_finite(volume, where)
        region, limit = grown(find_lungs(volume), WALL_MM), self.settings.max_proposals
        if self.proposing:
            blobs = find_peaks(foreground_map(self.proposing, volume, where), region, limit)
        else:
            blobs = find_blobs(volume, region, limit)
        return Candidates(blobs.centers_mm, blobs.diameters_mm)

    def classify(self, volume: Volume, candidates: Candidates, where: str = "volume") -> Floats:
        """The probability of each point of a list (n,), that an evaluation gives its patch; as `score` without turns.

        The operating point for a recall was chosen on these probabilities.
        """
        return self._mean(volume, candidates, where, turns=1)

    def score(self, volume: Volume, candidates: Candidates, where: str = "volume") -> Floats:
        """The probability of each proposal (n,), averaged over runs, quarter turns and mirrors; NaN outside the scan.

        Parameters
        ----------
        volume : Volume
            In any axes, with the channels of the scans of the training.
        candidates : Candidates
        where : str
            Name of the scan in messages.

        Raises
        ------
        ScanError
            The scan cannot be used.
        """
        return self._mean(volume, candidates, where, turns=QUARTER_TURNS)

    def _mean(self, volume: Volume, candidates: Candidates, where: str, *, turns: int) -> Floats:
        volume = canonical_volume(volume.array, volume.affine)
        points = candidates.centers_mm
        probabilities = np.stack([_score(run, volume, points, where, turns, self.tta) for run in self.runs])
        mean: Floats = probabilities.mean(axis=0)
        return mean

    def find(self, volume: Volume, where: str = "volume") -> Findings:
        """Propose, classify, and merge what lies within the radius of a more probable finding."""
        candidates = self.propose(volume, where)
        probabilities = self.score(volume, candidates, where)
        return self.merge(candidates, probabilities)

    def merge(self, candidates: Candidates, probabilities: Floats) -> Findings:
        """The findings among classified proposals, with the operating point."""
        return replace(merge_findings(candidates, probabilities), operating_point=self.operating_point)


def sort_findings(candidates: Candidates, probabilities: Floats) -> Findings:
    """All candidates as findings, the most probable first."""
    return _findings(candidates, probabilities, np.argsort(-probabilities, kind="stable"))  # NaN comes last


def merge_findings(candidates: Candidates, probabilities: Floats) -> Findings:
    """Findings of which none lies within the radius of a more probable one, or has it within its own."""
    return _findings(candidates, probabilities, unmerged_rows(candidates, probabilities))


def unmerged_rows(candidates: Candidates, probabilities: Floats) -> NDArray[np.int64]:
    """The candidates that `merge_findings` keeps, the most probable first."""
    rows = np.argsort(-probabilities, kind="stable")
    rows = rows[np.isfinite(probabilities[rows])]
    if not len(rows):
        return rows
    centers_mm, radii = candidates.centers_mm[rows], np.nan_to_num(candidates.diameters_mm[rows]) / 2
    tree = cKDTree(centers_mm)
    free = np.ones(len(rows), bool)
    for number, center in enumerate(centers_mm):
        if free[number]:
            near = np.array(tree.query_ball_point(center, radii.max()))
            near = near[near > number]
            apart = np.linalg.norm(centers_mm[near] - center, axis=1)
            free[near[apart <= np.maximum(radii[near], radii[number])]] = False
    return rows[free]


def _findings(candidates: Candidates, probabilities: Floats, rows: NDArray[np.int64]) -> Findings:
    return Findings(candidates.centers_mm[rows], probabilities[rows], candidates.diameters_mm[rows])


def _score(run: TrainedRun, volume: Volume, centers_mm: Floats, where: str, turns: int, tta: bool) -> Floats:
    window = run.experiment.data.picture_window
    settings = run.cut_settings
    if window is not None:
        # Patches in HU, which become the gray levels of the training's pictures below.
        padded = settings.patches.model_copy(update={"pad_value": window[0]})
        settings = replace(settings, dtype="float32", patches=padded, channels=1)
    prepared, _ = prepare_volume(volume, None, settings, where)
    statistics = scan_statistics(prepared, settings)
    boxes = center_boxes(prepared, centers_mm, settings.patches.size)
    batch = run.experiment.training.batch_size
    probabilities, mirrors = np.full(len(boxes), np.nan), mirrors_of(run.experiment, tta=tta)
    for first in range(0, len(boxes), batch):
        part = boxes[first : first + batch]
        patches = cut_patches(prepared, None, part, settings, [where] * len(part))
        kept = [(row, patch.image) for row, patch in enumerate(patches, first) if isinstance(patch, Patch)]
        if kept:
            images = np.stack([image for _, image in kept])
            probabilities[[row for row, _ in kept]] = _probabilities(run, images, statistics, turns, mirrors)
    return probabilities


def _probabilities(
    run: TrainedRun,
    images: NDArray[np.generic],
    statistics: list[list[float]] | None,
    turns: int,
    mirrors: Sequence[Axes],
) -> Floats:
    """Of class 1, the mean over the first quarter turns and the mirrors of patches (n, channel, x, y, z)."""
    preprocessing, window = run.preprocessing, run.experiment.data.picture_window
    if window is not None:
        scaled = (np.asarray(images, np.float32) - window[0]) / (window[1] - window[0])
        images = np.rint(GRAY_LEVELS * np.clip(scaled, 0, 1)).astype(np.uint8)
    raw = torch.from_numpy(images).to(preprocessing.device)
    rows = None if statistics is None else torch.tensor([statistics] * len(raw), dtype=torch.float64)
    scaled_images = scale_images(raw, preprocessing.intensity, rows, None)
    inputs = scaled_images[..., 0] if preprocessing.spatial_dims == 2 else scaled_images
    turns = turns if inputs.shape[2] == inputs.shape[3] else 1
    total = np.zeros(len(inputs))
    with torch.no_grad(), preprocessing.autocast():
        for turn, axes in itertools.product(range(turns), mirrors):
            turned = torch.rot90(inputs, turn, (2, 3)).contiguous(memory_format=preprocessing.layout)
            turned = mirror_images(turned, axes, preprocessing.layout)
            total += run.calibration.apply(run.model(turned).double().cpu().numpy())[:, 1]
    return total / (turns * len(mirrors))
