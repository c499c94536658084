"""Names of all files of a run, a search, a prediction and an inspection, and which stages of a run are finished."""

import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from voxray.config.experiment import Experiment
from voxray.errors import StoreError, WorkError
from voxray.runs.files import File, Files, Folder
from voxray.runs.records import UNKNOWN, StageRecord, describe_damage, is_readable, read_records
from voxray.storage.atomic import write_bytes, write_json
from voxray.storage.paths import AnyPath, exists, matching, read_bytes, relative_path
from voxray.storage.states import file_states

STAGES = ("train", "search", "evaluate", "folds")  # each builds on those before it
SPLITS = ("train", "val", "test")
KEY_BYTES = 32
LAST_CHECKPOINT, BEST_CHECKPOINT = "last.safetensors", "best.safetensors"  # in `RunFolder.checkpoints`


@dataclass(frozen=True)
class RunFolder(Folder):
    """Names of the files in a run's folder.

    Attributes
    ----------
    path : AnyPath
        The folder.
    experiment, architecture : AnyPath
        The resolved experiment, and the architecture as it was when it was trained.
    model : AnyPath
        Weights of the best epoch, with the operating point.
    history : AnyPath
        A row for each epoch.
    metrics : AnyPath
        Metrics of each split.
    report : AnyPath
    checkpoints : AnyPath
        A folder with the last and the best checkpoint.
    stages : AnyPath
        Which stages are finished, and with which inputs.
    status : AnyPath
        What the stages are doing, or did last.
    traceback : AnyPath
        Of an unexpected exception, until a stage starts again.
    near_duplicates : AnyPath
        Patches that are almost the same in two splits of the store, where it was verified.
    pseudonyms : AnyPath
        The key of the pseudonyms.
    predictions : function of a split
        A row for each of its patches, or for each scan where scans have masks.
    froc, findings_froc : function of a split
        The FROC curve of a list's candidates, and that of the findings of whole scans.
    findings, nodules : function of a split
        A row for each proposal in its whole scans, and for each annotated nodule of these.
    """

    path: AnyPath

    experiment = File[AnyPath]("experiment.json")
    architecture = File[AnyPath]("architecture.json")
    model = File[AnyPath]("model.safetensors")
    history = File[AnyPath]("history.parquet")
    metrics = File[AnyPath]("metrics.json")
    report = File[AnyPath]("report.html")
    checkpoints = File[AnyPath]("checkpoints", "checkpoints/*.safetensors")
    stages = File[AnyPath]("stages.json")
    status = File[AnyPath]("status.json")
    traceback = File[AnyPath]("traceback.txt")
    near_duplicates = File[AnyPath]("near_duplicates.json")
    pseudonyms = File[AnyPath]("pseudonyms.key")
    predictions = Files[AnyPath]("predictions/*.parquet")
    froc = Files[AnyPath]("predictions/*_froc.parquet")
    findings = Files[AnyPath]("predictions/*_findings.parquet")
    findings_froc = Files[AnyPath]("predictions/*_findings_froc.parquet")
    nodules = Files[AnyPath]("predictions/*_nodules.parquet")

    @classmethod
    def patterns(cls) -> tuple[str, ...]:
        """Glob patterns of all files that the folder can have, relative to it."""
        return (*super().patterns(), *(f"predictions/*/{pattern}" for pattern in PredictionFolder.patterns()))

    def label_maps(self, split: str) -> "PredictionFolder":
        """The predicted label maps of a split."""
        return PredictionFolder(self.path / "predictions" / split)

    def split_tables(self, split: str) -> tuple[AnyPath, ...]:
        """All tables that an evaluation can write of a split, the predictions first."""
        names = (self.predictions, self.froc, self.findings, self.findings_froc, self.nodules)
        return tuple(name(split) for name in names)

    def pseudonym_key(self) -> bytes:
        """The key of the pseudonyms in all that leaves the machine; drawn at the first call, and kept."""
        key = read_bytes(self.pseudonyms) if exists(self.pseudonyms) else b""
        if len(key) != KEY_BYTES:
            key = secrets.token_bytes(KEY_BYTES)
            write_bytes(self.pseudonyms, key)
        return key

    def finished(self, stage: str) -> StageRecord | None:
        """The record of a finished stage; None where a file that it wrote is missing or damaged."""
        record = read_records(self.stages).get(stage)
        return None if record is None or describe_damage(self.path, record) else record

    def damage(self, stage: str) -> str:
        """What happened to the files of a stage since it finished, in words; empty where nothing did."""
        record = read_records(self.stages).get(stage)
        if record is not None:
            return describe_damage(self.path, record)
        return f"{self.stages.name} cannot be read" if exists(self.stages) and not is_readable(self.stages) else ""

    def check(self, file: AnyPath) -> None:
        """Raise StoreError where a file is missing or differs from the one that a finished stage wrote.

        In object storage files are not compared, as that takes a request each.
        """
        name = relative_path(self.path, file)
        records = read_records(self.stages) if isinstance(self.path, Path) else {}
        for stage, record in records.items():
            if name in record.files and describe_damage(self.path, replace(record, files={name: record.files[name]})):
                problem = "differs from the file" if exists(file) else "is missing, the file"
                # A training alone would leave the run without its evaluation.
                remedy = f"Run voxray {'run' if len(records) > 1 or stage == 'folds' else stage} again"
                raise StoreError(str(file), f"{problem} that {stage} wrote", remedy)

    def begin(self, stage: str, rewritten: Iterable[AnyPath] = ()) -> None:
        """Forget that a stage, and those that build on it, are finished: their results are about to change.

        `rewritten` are files of earlier stages that this one writes again.
        """
        states = dict.fromkeys((relative_path(self.path, file) for file in rewritten), UNKNOWN)
        records = read_records(self.stages).items()
        kept = {name: _with_states(record, states) for name, record in records if name in STAGES[: STAGES.index(stage)]}
        self._write_records(kept)

    def remove_results(self) -> None:
        """Remove the model, and all that was computed with it."""
        self.remove_evaluation()
        for path in (self.history, self.model):
            path.unlink(missing_ok=True)

    def remove_evaluation(self) -> None:
        """Remove all that was computed with the model; files that no stage writes stay."""
        for split in SPLITS:
            maps = self.label_maps(split)
            for file in (*self.split_tables(split), *matching(maps.path, maps.label_map("*").name)):
                file.unlink(missing_ok=True)
            _remove_empty(maps.path)
        _remove_empty(self.path / "predictions")
        for file in (self.report, self.metrics):
            file.unlink(missing_ok=True)

    def check_vacant(self, given: AnyPath) -> None:
        """Raise StoreError where the folder holds no run, but files that one would overwrite.

        `given` is the architecture file of the experiment, which may lie in the folder of its run.
        """
        if any(map(exists, (self.experiment, self.stages, self.status))):
            return
        tables = (file for split in SPLITS for file in self.split_tables(split))
        results = (self.model, self.history, self.metrics, self.report, *tables)
        own = (*results, *((self.architecture,) if given.resolve() != self.architecture.resolve() else ()))
        for file in filter(exists, own):
            name = relative_path(self.path, file)
            problem = f"expected an empty or new folder, or that of a run, got one that holds '{name}'"
            raise StoreError(str(self.path), problem, "Give another folder with --set out=…")

    def mark_finished(self, stage: str, key: str, seconds: float, files: Iterable[AnyPath]) -> None:
        """Record that a stage is finished.

        Parameters
        ----------
        stage : str
        key : str
            Names everything that the stage depended on.
        seconds : float
        files : iterable of AnyPath
            All that the stage wrote.

        Raises
        ------
        WorkError
            One of them was removed meanwhile.
        """
        names = [relative_path(self.path, file) for file in files]
        states = file_states(self.path, names)
        if missing := [name for name in names if name not in states]:
            problem = f"was removed while {stage} was running"
            raise WorkError(str(self.path / missing[0]), problem, "Re-run the same command")
        earlier = {name: _with_states(record, states) for name, record in read_records(self.stages).items()}
        self._write_records({**earlier, stage: StageRecord(key, round(seconds, 2), states)})

    def _write_records(self, records: Mapping[str, StageRecord]) -> None:
        write_json(self.stages, {stage: asdict(record) for stage, record in records.items()})


@dataclass(frozen=True)
class SearchFolder(Folder):
    """Names of the files in a search's folder, which lies on a disk.

    Attributes
    ----------
    path : Path
        The folder.
    search : Path
        What all trials share.
    rejected : Path
        A line for each network that exceeds a limit or cannot be built.
    leaderboard, report : Path
    results : Path
        The best and the chosen trial, and whether one beat the initial network beyond chance.
    best_architecture, best_settings, best_run : Path
        The best trial, for ``voxray train``, and the folder of that run.
    survey : Path
        The chart of ``voxray tune --dry-run``.
    ray_tune : Path
        What Ray Tune keeps while it runs.
    record : function of a trial
        Its settings, state and history.
    """

    path: Path

    search = File[Path]("search.json")
    rejected = File[Path]("rejected.jsonl")
    leaderboard = File[Path]("leaderboard.csv")
    results = File[Path]("results.json")
    report = File[Path]("report.html")
    best_architecture = File[Path]("best/architecture.json")
    best_settings = File[Path]("best/settings.toml")
    best_run = File[Path]("best/trained_run", "best/trained_run/*.*")
    survey = File[Path]("dry_run.png")
    ray_tune = File[Path]("ray_tune", "ray_tune/**/*.*")
    record = Files[Path]("trials/*/trial.json")

    def trial(self, name: str) -> Path:
        """The run's folder of a trial."""
        return self.record(name).parent

    def records(self) -> list[Path]:
        """The records of all trials, in the order of their names."""
        return sorted(self.path.glob("trials/*/trial.json"))


@dataclass(frozen=True)
class PredictionFolder(Folder):
    """Names of the predictions of scans, by the scan's name without its suffix.

    Attributes
    ----------
    path : AnyPath
        The folder.
    label_map : function of a scan
        The classes of all voxels.
    record : function of a scan
        What its label map belongs to, and how large each class is.
    probabilities : function of a scan
        Probabilities of the classes of all voxels.
    classification : function of a scan
        Its class, with the probabilities.
    saliency : function of a scan
        Slices with the saliency of the predicted class.
    findings, findings_table, findings_page : function of a scan
        Where its candidates are and how probable each is.
    finding_picture : function of a finding
        Three planes through it.
    """

    path: AnyPath

    label_map = Files[AnyPath]("*_seg.nii.gz")
    record = Files[AnyPath]("*_seg.json")
    probabilities = Files[AnyPath]("*_prob.nii.gz")
    classification = Files[AnyPath]("*.json")
    saliency = Files[AnyPath]("*_saliency.png")
    findings = Files[AnyPath]("*_findings.json")
    findings_table = Files[AnyPath]("*_findings.csv")
    findings_page = Files[AnyPath]("*_findings.html")
    finding_picture = Files[AnyPath]("*.png")


@dataclass(frozen=True)
class InspectionFolder(Folder):
    """Names of the files of an inspection: the page, its summary and a row for each scan."""

    path: AnyPath

    page = File[AnyPath]("inspection.html")
    summary = File[AnyPath]("inspection.json")
    scans = File[AnyPath]("scans.parquet")


@dataclass(frozen=True)
class PlanFolder(Folder):
    """Names of the files of a plan; those of a second proposal have a suffix such as ``_2d``."""

    path: AnyPath

    experiment = Files[AnyPath]("experiment*.toml")
    architecture = Files[AnyPath]("architecture*.json")
    space = Files[AnyPath]("space*.json")
    plan = File[AnyPath]("plan.json")
    page = File[AnyPath]("plan.html")


@dataclass(frozen=True)
class ScoreFolder(Folder):
    """Names of the files of scored masks: the page, all values and a row for each case and class."""

    path: AnyPath

    page = File[AnyPath]("scores.html")
    scores = File[AnyPath]("scores.json")
    cases = File[AnyPath]("cases.csv")


def run_folder(experiment: Experiment) -> RunFolder:
    """The folder of an experiment's run."""
    return RunFolder(experiment.out_path)


def _remove_empty(folder: AnyPath) -> None:
    """Remove a folder that is empty; in object storage there is none without files."""
    if isinstance(folder, Path):
        with suppress(OSError):
            folder.rmdir()


def _with_states(record: StageRecord, states: Mapping[str, str]) -> StageRecord:
    """The record with new states of those files that it has."""
    return replace(record, files={name: states.get(name, state) for name, state in record.files.items()})
