"""Voxray: medical scans to patch stores, trained networks and predictions.

The names below are the public API; `docs/python.md` shows them. Each is imported when it is first used, so that
``import voxray`` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voxray import errors as errors
    from voxray import metrics as metrics
    from voxray.api.experiments import evaluate, ingest, load_config, report, run, train
    from voxray.api.patch_store import Store, open_store
    from voxray.api.trained_run import Run, load_run
    from voxray.api.volumes import read_scan
    from voxray.volume import Volume

__version__ = "0.1.0"
_MODULES = {
    "Run": "api.trained_run",
    "Store": "api.patch_store",
    "Volume": "volume",
    "evaluate": "api.experiments",
    "ingest": "api.experiments",
    "load_config": "api.experiments",
    "load_run": "api.trained_run",
    "open_store": "api.patch_store",
    "read_scan": "api.volumes",
    "report": "api.experiments",
    "run": "api.experiments",
    "train": "api.experiments",
}
_PACKAGES = ("errors", "metrics")
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


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"voxray.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module 'voxray' has no attribute '{name}'")
    value: Any = getattr(import_module(f"voxray.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
