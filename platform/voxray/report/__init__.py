"""HTML pages of runs, searches and data sets.

``voxray.report`` is the name of this package and of a stage, so the package can be called like the stage.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Report(ModuleType):
    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """See `voxray.api.experiments.report`."""
        return import_module("voxray.api.experiments").report(*arguments, **keywords)


sys.modules[__name__].__class__ = _Report
