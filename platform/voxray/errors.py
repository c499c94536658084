"""All errors that Voxray raises on purpose.

A message reads ``where: what is wrong, got value. What to do.``
Constructors take positional strings only, so that an error survives the way back from a worker process.
"""

MOST_LINES = 20  # of problems of one file that are shown


class VoxrayError(Exception):
    """The base of all errors that the command line shows as one line instead of a traceback.

    Parameters
    ----------
    where : str
        File, key path, scan or stage.
    problem : str
        What is wrong, with the value that was found.
    remedy : str
        What to do about it; may be empty.

    Attributes
    ----------
    exit_code : int
        Of the command line: 2 for the user's mistake, 1 for work that failed.

    Examples
    --------
    >>> print(VoxrayError("a.toml: seed", "expected an integer, got 'x'", "Correct the value"))
    a.toml: seed: expected an integer, got 'x'. Correct the value.
    """

    exit_code = 1

    def __init__(self, where: str, problem: str, remedy: str = "") -> None:
        # Not super(): OSError, a base of NotReadyError, would take the texts for an error number and a file.
        Exception.__init__(self, where, problem, remedy)
        self.where = where
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        stop = "" if self.problem.endswith((".", "?", "!", "\n")) else "."
        space = "" if self.problem.endswith("\n") else " "
        remedy = f"{space}{self.remedy}." if self.remedy else ""
        return f"{self.where}: {self.problem}{stop}{remedy}"


class ConfigError(VoxrayError, ValueError):
    """An invalid value in an experiment, an architecture, a space or an option.

    Examples
    --------
    >>> raise ConfigError("training.workers", "2 workers need one CPU each, the cluster has 1", "Reduce it")
    Traceback (most recent call last):
    voxray.errors.ConfigError: training.workers: 2 workers need one CPU each, the cluster has 1. Reduce it.
    """

    exit_code = 2


class ConfigFileError(ConfigError):
    """All problems of one configuration file; `problem` holds a line for each.

    Examples
    --------
    >>> print(ConfigFileError("a.toml", "invalid experiment.\\n  name: missing\\n  out: missing"))
    a.toml: invalid experiment.
      name: missing
      out: missing
    """

    def __str__(self) -> str:
        lines = self.problem.split("\n")
        rest = [f"  … and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
        return "\n".join([f"{self.where}: {lines[0]}", *lines[1:MOST_LINES], *rest])


class DataError(VoxrayError):
    """A data set as a whole cannot be used as the experiment asks.

    Examples
    --------
    >>> print(DataError("data/luna16", "expected a folder 'subset0', found none", "Check data.root"))
    data/luna16: expected a folder 'subset0', found none. Check data.root.
    """

    exit_code = 2


class NotReadyError(VoxrayError, FileNotFoundError):
    """A stage was started before the stage that it builds on.

    Examples
    --------
    >>> print(NotReadyError("runs/demo/store", "no patch store is here", "Run voxray ingest first"))
    runs/demo/store: no patch store is here. Run voxray ingest first.
    """

    exit_code = 2


class ScanError(VoxrayError):
    """One scan, or one patch of it, cannot be used; it is quarantined and the other scans are processed.

    Examples
    --------
    >>> print(ScanError("scan.nii.gz", "expected 3 dimensions, got 2", "Export the volume again"))
    scan.nii.gz: expected 3 dimensions, got 2. Export the volume again.
    """


class EmptyScanError(ScanError):
    """One scan has no foreground and ``patches.keep_empty`` is off; the scan itself is valid.

    Examples
    --------
    >>> print(EmptyScanError("scan.nii.gz", "the mask is empty"))
    scan.nii.gz: the mask is empty.
    """


class StoreError(VoxrayError):
    """A store or a run on disk is damaged or incomplete.

    Examples
    --------
    >>> print(StoreError("runs/demo/store", "checksum differs in shard 3", "Ingest it again"))
    runs/demo/store: checksum differs in shard 3. Ingest it again.
    """


class WorkError(VoxrayError):
    """The work itself failed: a full disk, a lost worker, a loss that is not a number.

    Examples
    --------
    >>> print(WorkError("train", "a worker was lost", "Re-run the same command to resume"))
    train: a worker was lost. Re-run the same command to resume.
    """


class UnexpectedError(WorkError):
    """An exception that Voxray does not foresee: a defect of Voxray or of a library.

    Parameters
    ----------
    where, problem, remedy : str
        As of every error; the problem is the text of the exception.
    details : str
        The traceback.

    Examples
    --------
    >>> print(UnexpectedError("train, shard 3", "KeyError: 'x'", "The traceback is in runs/demo/traceback.txt"))
    train, shard 3: KeyError: 'x'. The traceback is in runs/demo/traceback.txt.
    """

    def __init__(self, where: str, problem: str, remedy: str = "", details: str = "") -> None:
        super().__init__(where, problem, remedy)
        if details:
            self.args = (where, problem, remedy, details)
        self.details = details
