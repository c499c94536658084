"""The files of a plan: experiments, architectures, spaces, the list of scans, the numbers and a page."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from voxray.planning.budget import Budget
from voxray.planning.choices import Proposal
from voxray.planning.fingerprint import Fingerprint
from voxray.planning.manifest import describe, write_manifest
from voxray.planning.spaces import space_around
from voxray.planning.toml_text import experiment_text
from voxray.planning.understand import Understood
from voxray.reporting.planning.page import render_plan
from voxray.runs.folder import PlanFolder
from voxray.storage.atomic import write_json, write_text
from voxray.storage.paths import AnyPath


@dataclass(frozen=True, eq=False)
class Planned:
    """A data set with the experiments that fit it.

    Attributes
    ----------
    name : str
    understood : Understood
    scan_stats : pyarrow.Table
        A row for each scan, schema SCAN_STATS.
    data : Fingerprint
    budget : Budget
    proposals : tuple of Proposal
        The recommended one first.
    """

    name: str
    understood: Understood
    scan_stats: pa.Table
    data: Fingerprint
    budget: Budget
    proposals: tuple[Proposal, ...]


def write_plan(planned: Planned, folder: AnyPath) -> AnyPath:
    """Write all files of a plan; returns the first experiment."""
    files = PlanFolder(folder)
    with files.locked():
        write_manifest(planned.understood, folder)
        for proposal in planned.proposals:
            write_text(files.architecture(proposal.suffix), _json_text(proposal.architecture))
            write_json(files.space(proposal.suffix), space_around(proposal))
            write_text(files.experiment(proposal.suffix), proposal_text(planned, proposal))
        content = plan_content(planned)
        write_json(files.plan, content)
        write_text(files.page, render_plan(planned.name, content, planned.scan_stats))
    return files.experiment("")


def proposal_text(planned: Planned, proposal: Proposal) -> str:
    """The content of a proposal's experiment file."""
    folder = "run" + proposal.suffix
    top = {"name": planned.name + proposal.suffix, "out": folder}
    comment = f"{proposal.title}. Planned from {planned.data.scans} scans by voxray plan; every value may be changed."
    return experiment_text(comment, top, planned.understood.data, proposal.choices)


def plan_content(planned: Planned) -> dict[str, Any]:
    """The numbers of a plan, for JSON."""
    data = planned.data
    medians = {key: np.median(getattr(data, key), axis=0).tolist() for key in ("spacings_mm", "extents", "contents")}
    return {
        "name": planned.name,
        "understood": describe(planned.understood),
        "fingerprint": {
            "scans": data.scans,
            "patients": data.patients,
            "channels": list(data.channels),
            "classes": dict(zip(data.classes, data.counts.tolist(), strict=True)),
            "medians": medians,
            "content_share": data.content_share,
            "intensities": [asdict(each) for each in data.intensities],
        },
        "budget": asdict(planned.budget),
        "proposals": [
            {"suffix": each.suffix, "title": each.title, "choices": [asdict(choice) for choice in each.choices]}
            for each in planned.proposals
        ],
    }


def plan_name(source: AnyPath) -> str:
    """A name for the experiments of a folder or file."""
    name = source.name.split(".")[0] or "data"
    return re.sub(r"\W+", "_", name).strip("_").lower() or "data"


def _json_text(architecture: Any) -> str:
    """An architecture file with a line for each key or layer."""
    if isinstance(architecture, Mapping):
        lines = [f'  "{key}": {json.dumps(value)}' for key, value in architecture.items()]
        return "{\n" + ",\n".join(lines) + "\n}\n"
    return "[\n" + ",\n".join(f"  {json.dumps(layer)}" for layer in architecture) + "\n]\n"
