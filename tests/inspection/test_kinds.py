from pathlib import Path

from voxray.inspection.kinds import ERROR, KINDS


def test_the_documentation_names_every_kind_in_its_order(project: Path) -> None:
    text = (project / "docs" / "inspect.md").read_text()
    rows = [f"| {'×' if kind.needs_voxels else ''} | {kind.title} |".replace("|  |", "| |") for kind in KINDS.values()]
    places = [text.index(row) for row in rows]
    assert places == sorted(places)
    severities = [kind.severity for kind in KINDS.values()]
    assert severities == sorted(severities, key=lambda each: each != ERROR)
