"""Every error that Voxray raises on purpose.

A message reads ``where: what is wrong, got value. What to do.``
Constructors take positional strings only, so that an error survives the way back from a worker process.
"""


class VoxrayError(Exception):
    """The root of all errors a user may see as one line instead of a traceback.

    Parameters
    ----------
    where : str
        File, key path, scan or stage.
    problem : str
        What is wrong, with the value that was found.
    remedy : str
        What to do about it; may be empty.
    """

    exit_code = 1

    def __init__(self, where: str, problem: str, remedy: str = "") -> None:
        super().__init__(where, problem, remedy)
        self.where = where
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        tail = f" {self.remedy}." if self.remedy else ""
        stop = "" if self.problem.endswith((".", "?", "!", "\n")) else "."
        return f"{self.where}: {self.problem}{stop}{tail}"


class ConfigError(VoxrayError, ValueError):
    """An experiment, an architecture or an option says something that cannot be."""

    exit_code = 2


class ConfigFileError(ConfigError):
    """All the problems of one configuration at once; `problem` holds a line for each."""

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}"


class DataError(VoxrayError):
    """A data set as a whole cannot be used as the experiment asks."""

    exit_code = 2


class NotReadyError(VoxrayError, FileNotFoundError):
    """A stage was asked for before the one that it builds on."""

    exit_code = 2


class ScanError(VoxrayError):
    """One scan, or one patch of it, cannot be used; it goes to quarantine and the others go on."""


class EmptyScanError(ScanError):
    """One scan has no foreground, and the experiment leaves such scans out; nothing is wrong with it."""


class StoreError(VoxrayError):
    """A store or run on disk is not what it should be."""


class WorkError(VoxrayError):
    """The work itself failed: a full disk, a dead worker, a loss that is not a number."""
