"""The manifest of cases: its columns, its rows, and how an experiment reads it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from voxray.datasets.manifest import Manifest
from voxray.datasets.table import LABEL, MASK, table_manifest
from voxray.planning.found import Case
from voxray.storage.paths import AnyPath

RESERVED = (LABEL, MASK, "patient_id", "split")


@dataclass(frozen=True)
class Columns:
    """The columns of a manifest that name files: those of the channels, and of the masks of the classes 1, 2, …"""

    channels: Mapping[str, str]
    classes: Mapping[str, str]

    @classmethod
    def of(cls, channels: Sequence[str], classes: Sequence[str]) -> "Columns":
        """Columns for the names of channels and classes; both are called as these where no other column is."""
        if len(channels) == 1:
            of_channels = {channels[0]: "path"}
        else:
            of_channels = {name: f"channel_{name}" if name in RESERVED else name for name in channels}
        taken = (*RESERVED, *of_channels.values())
        return cls(of_channels, {name: f"mask_{name}" if name in taken else name for name in classes})

    @property
    def masks(self) -> tuple[str, ...]:
        """The columns of masks."""
        return tuple(self.classes.values()) or (MASK,)

    @property
    def settings(self) -> dict[str, list[str]]:
        """What ``[data]`` says of them."""
        settings = {"channels": list(self.channels.values())} if len(self.channels) > 1 else {}
        return settings | ({"mask_columns": list(self.classes.values())} if self.classes else {})


def list_cases(cases: Sequence[Case], columns: Columns) -> pa.Table:
    """The rows of a manifest, with a column of all that any case has."""
    cells: dict[str, list[str | None]] = {
        column: [case.files[name] for case in cases] for name, column in columns.channels.items()
    }
    cells |= {column: [case.class_masks.get(name) for case in cases] for name, column in columns.classes.items()}
    optional: dict[str, list[str | None]] = {
        MASK: [None if case.class_masks else case.mask for case in cases],
        LABEL: [case.label for case in cases],
        "patient_id": [case.patient or next(iter(case.files.values())) for case in cases],
        "split": [case.split for case in cases],
    }
    if not any(case.patient for case in cases):
        del optional["patient_id"]
    cells |= {name: texts for name, texts in optional.items() if any(texts)}
    return pa.table({name: pa.array(texts, pa.string()) for name, texts in cells.items()})


def case_manifest(table: pa.Table, root: AnyPath, classes: tuple[str, ...] | None, columns: Columns) -> Manifest:
    """The manifest of such rows, as an experiment reads it."""
    return table_manifest(table, root, root, classes, tuple(columns.channels.values()), columns.masks)
