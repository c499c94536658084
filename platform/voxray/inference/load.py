"""The one loader of a trained run: its folder → everything that predicting needs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import BaseModel, Field, FiniteFloat, ValidationError, field_validator, model_validator
from torch import nn

from voxray.config.data import Positive
from voxray.config.differences import differences
from voxray.config.experiment import Experiment
from voxray.config.folds import fold_experiments
from voxray.config.labels import MaskLabels, label_settings
from voxray.config.parse import check_content
from voxray.config.tasks import TASKS
from voxray.config.validation import describe_problems, nearest
from voxray.datasets.layouts import find_layout
from voxray.errors import ConfigError, StoreError
from voxray.metrics.calibration import Calibration
from voxray.models.build import build_model
from voxray.models.spec.load import Architecture, parse_architecture
from voxray.models.spec.unet import UNet
from voxray.patches.cut import CutSettings
from voxray.patches.plan import store_provenance
from voxray.runs.folder import RunFolder
from voxray.runs.keys import training_settings
from voxray.runs.read import read_run_experiment
from voxray.storage.paths import AnyPath, exists, read_bytes
from voxray.training.checkpoint import load_model, read_metadata
from voxray.training.fit import make_preprocessing
from voxray.training.inputs import Preprocessing


@dataclass(frozen=True)
class OperatingPoint:
    """The probability from which a finding of a whole scan counts.

    Attributes
    ----------
    threshold : float
        Chosen on the scans of validation; of several runs the mean.
    false_positives_per_scan : float
        At most so many were allowed there.
    sensitivity : float, optional
        Share of the nodules of validation that are found; of several runs the mean. None without nodules.
    """

    threshold: float
    false_positives_per_scan: float
    sensitivity: float | None


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """A trained model on its device, and what turns scans into its input.

    Attributes
    ----------
    task : str
        Key of `voxray.config.tasks.TASKS`.
    experiment : Experiment
        Of the run that trained the model.
    classes : tuple of str
        For segmentation the background first.
    threshold : float, optional
        Operating point of class 1 of two, where the run has been evaluated; for patches, or for patients, as the
        experiment's ``evaluation.level`` says.
    scan_threshold : float, optional
        The same for the mean probability of a scan's patches.
    operating_point : OperatingPoint, optional
        Of findings, where whole scans have been evaluated.
    calibration : Calibration
        Turns the model's logits into probabilities; changes nothing before the run is evaluated.
    model : nn.Module
        In evaluation mode.
    preprocessing : Preprocessing
        Turns patches into the model's input.
    cut_settings : CutSettings
        How patches are cut from a scan; those of the training were cut so.
    """

    folder: RunFolder
    task: str
    experiment: Experiment
    architecture: Architecture
    classes: tuple[str, ...]
    threshold: float | None
    scan_threshold: float | None
    operating_point: OperatingPoint | None
    calibration: Calibration
    model: nn.Module
    preprocessing: Preprocessing
    cut_settings: CutSettings

    @property
    def labels(self) -> MaskLabels:
        """What the values of masks and of label maps mean, for a segmentation."""
        return self.cut_settings.labels

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.preprocessing.device


class _Calibration(BaseModel):
    """What an evaluation wrote of a `Calibration`."""

    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    offsets: tuple[FiniteFloat, ...] = ()


class _OperatingPoint(BaseModel):
    """What an evaluation wrote of an `OperatingPoint`."""

    threshold: FiniteFloat
    false_positives_per_scan: FiniteFloat
    sensitivity: FiniteFloat | None


class _Metadata(BaseModel):
    """What is used of a model's metadata, which a stranger may have written."""

    architecture: Any
    input_shape: Annotated[tuple[Positive, ...], Field(min_length=3, max_length=4)]
    task: str
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    threshold: float | None = None
    scan_threshold: float | None = None
    operating_point: _OperatingPoint | None = None
    calibration: _Calibration = _Calibration()

    @field_validator("task")
    @classmethod
    def _known(cls, task: str) -> str:
        if task not in TASKS:
            raise ValueError(f"unknown task; {nearest(task, TASKS)}")
        return task

    @model_validator(mode="after")
    def _offset_for_each_class(self) -> "_Metadata":
        if len(self.calibration.offsets) not in (0, len(self.classes)):
            raise ValueError(f"calibration.offsets: expected one for each of {len(self.classes)} classes")
        return self


def _read_metadata(folder: RunFolder) -> _Metadata:
    folder.check(folder.model)
    content = read_metadata(folder.model)
    try:
        check_content(content.get("architecture"))
        return _Metadata.model_validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        problem = describe_problems(error, _Metadata)[0]
    except ValueError as error:
        problem = f"architecture: {error}"
    raise StoreError(str(folder.model), f"its metadata is damaged: {problem}", "Train again")


def trained_folders(path: AnyPath) -> list[AnyPath]:
    """The folder of a run; of a cross-validation those of its folds.

    Raises
    ------
    StoreError
        A fold was trained with other settings than the cross-validation has.
    """
    folder = RunFolder(path)
    if exists(folder.model) or not exists(folder.experiment):
        return [path]
    folds = fold_experiments(read_run_experiment(folder))
    if len(folds) == 1:
        return [path]
    folders = [path / fold.out_path.name for fold in folds]
    _check_folds(folders, folds)
    return folders


def load_members(paths: Sequence[AnyPath], device: torch.device) -> list[TrainedRun]:
    """Load the networks of one or several runs, of a cross-validation those of its folds; see `check_members`."""
    folders = [folder for path in paths for folder in trained_folders(path)]
    check_members(folders)
    return [load_trained(folder, device) for folder in folders]


def check_members(folders: Sequence[AnyPath]) -> None:
    """Check that the probabilities of trained networks may be averaged.

    Raises
    ------
    ConfigError
        A folder is given twice, or a network answers another question than the first one.
    NotReadyError
        A run has not been trained.
    """
    first, *others = map(RunFolder, folders)
    answers = _answers(first)
    problems = []
    for number, folder in enumerate(others, 1):
        if folder.path.resolve() in {path.resolve() for path in folders[:number]}:
            problems.append(f"{folder.path} is given twice")
        problems += [
            f"{folder.path}: {key} {value!r} instead of {answers.get(key)!r}"
            for key, value in _answers(folder).items()
            if value != answers.get(key)
        ]
    if problems:
        problem = f"cannot be averaged with {first.path}: {'; '.join(problems)}"
        raise ConfigError("runs", problem, "Give runs of one task with the same classes")


def _answers(folder: RunFolder) -> dict[str, Any]:
    """What a network answers, which those of an ensemble have in common."""
    metadata, experiment = _read_metadata(folder), read_run_experiment(folder)
    architecture = parse_architecture(metadata.architecture, str(folder.model))
    answers: dict[str, Any] = {"task": metadata.task, "classes": metadata.classes, "channels": metadata.input_shape[0]}
    if isinstance(architecture, UNet):
        meaning = {name: value for name, value in label_settings(experiment.data).items() if name != "ignore_label"}
        return {**answers, "activation": architecture.output.activation, "data": meaning}
    layout = find_layout(experiment.data.layout).samples_points
    answers["candidates"] = layout or experiment.data.picture_window is not None
    if answers["candidates"]:
        answers["detection"] = experiment.detection.model_dump(mode="json")
    return answers


def _check_folds(folders: Sequence[AnyPath], folds: Sequence[Experiment]) -> None:
    """Raise StoreError where a fold was trained with other settings than its cross-validation has."""
    pairs = [(RunFolder(path), fold) for path, fold in zip(folders, folds, strict=True)]
    trained = [(folder, fold) for folder, fold in pairs if exists(folder.experiment) and exists(folder.architecture)]
    for folder, fold in trained:
        differing = list(differences(prediction_settings(fold), prediction_settings(read_run_experiment(folder))))
        first = trained[0][0]
        if _architecture(folder) != _architecture(first):
            differing.append(f"another model.architecture than {first.path.name}")
        if differing:
            problem = f"the fold was trained with other settings than the cross-validation: {'; '.join(differing)}"
            raise StoreError(str(folder.path), problem, "Run voxray run on the cross-validation again")


def _architecture(folder: RunFolder) -> Any:
    folder.check(folder.architecture)
    content = read_bytes(folder.architecture)
    try:
        return json.loads(content)
    except ValueError:
        return content


def prediction_settings(experiment: Experiment) -> dict[str, Any]:
    """The settings that a run's predictions depend on; not where its data, store and results are."""
    store = store_provenance(experiment, "")
    settings = {key: store[key] for key in ("split", "patches", "store")}
    later = {name: getattr(experiment, name).model_dump(mode="json") for name in ("evaluation", "detection")}
    return {**training_settings(experiment), **settings, **later}


def load_trained(path: AnyPath, device: torch.device) -> TrainedRun:
    """Load the trained model of a run's folder.

    Raises
    ------
    NotReadyError
        The run has not been trained.
    StoreError
        A file of it is damaged.
    """
    folder = RunFolder(path)
    metadata = _read_metadata(folder)
    experiment = read_run_experiment(folder)
    architecture = parse_architecture(metadata.architecture, str(folder.model))
    classes, shape = metadata.classes, metadata.input_shape
    model = build_model(architecture, shape, len(classes), experiment.seed)
    load_model(folder.model, model)
    masks = TASKS[metadata.task].needs_masks
    point = metadata.operating_point
    return TrainedRun(
        folder=folder,
        task=metadata.task,
        experiment=experiment,
        architecture=architecture,
        classes=classes,
        threshold=metadata.threshold,
        scan_threshold=metadata.scan_threshold,
        operating_point=None if point is None else OperatingPoint(**point.model_dump()),
        calibration=Calibration(metadata.calibration.temperature, metadata.calibration.offsets),
        model=model.to(device).eval(),
        preprocessing=make_preprocessing(experiment, len(shape) - 1, device),
        cut_settings=CutSettings.from_provenance(store_provenance(experiment, ""), shape[0], classes, masks=masks),
    )
