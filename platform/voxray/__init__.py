"""Voxray: medical scans to patch stores, trained networks and predictions.

The names below are the public API; `docs/python.md` shows them. Each is imported when it is first used, so that
``import voxray`` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voxray import errors as errors
    from voxray import metrics as metrics
    from voxray.api import (
        Run,
        Store,
        evaluate,
        ingest,
        load_config,
        load_run,
        open_store,
        read_scan,
        report,
        run,
        train,
    )
    from voxray.volume import Volume

__version__ = "0.1.0"
__all__ = [
    "Run",
    "Store",
    "Volume",
    "__version__",
    "errors",
    "evaluate",
    "ingest",
    "load_config",
    "load_run",
    "metrics",
    "open_store",
    "read_scan",
    "report",
    "run",
    "train",
]
_MODULES = {"errors": "voxray.errors", "metrics": "voxray.metrics"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'voxray' has no attribute '{name}'")
    if name in _MODULES:
        value: Any = import_module(_MODULES[name])
    else:
        value = getattr(import_module("voxray.volume" if name == "Volume" else "voxray.api"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
