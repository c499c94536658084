"""Where work runs: in this process, or on a Ray cluster."""

from typing import TYPE_CHECKING

from voxray.errors import ConfigError

if TYPE_CHECKING:
    from voxray.executors.base import Executor


def get_executor(name: str) -> "Executor":
    """The executor of a name; only ``ray`` imports Ray.

    Parameters
    ----------
    name : {"local", "ray"}

    Raises
    ------
    ConfigError
        No executor has this name.
    """
    if name == "local":
        from voxray.executors.local import LocalExecutor

        return LocalExecutor()
    if name == "ray":
        from voxray.executors.ray.executor import RayExecutor

        return RayExecutor()
    raise ConfigError("executor", f"expected 'local' or 'ray', got '{name}'")
