from pathlib import Path

from voxray.inspection.kinds import ERROR, KINDS


def test_the_documentation_names_every_kind_in_its_order(project: Path) -> None:
    text = (project / "docs" / "inspect.md").read_text()
    rows = [f"| {'×' if kind.needs_voxels else ''} | {kind.title} |".replace("|  |", "| |") for kind in KINDS.values()]
    positions = [text.index(row) for row in rows]
    assert positions == sorted(positions)
    severities = [kind.severity for kind in KINDS.values()]
    assert severities == sorted(severities, key=lambda severity: severity != ERROR)
