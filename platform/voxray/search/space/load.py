"""Space files: an architecture file with decisions in place of values → a checked tree that can be sampled.

The language is described in docs/spaces.md.
"""

from pathlib import Path
from typing import Any

from voxray.config.validation import nearest, read_json
from voxray.errors import ConfigFileError
from voxray.search.space.check import check_samples
from voxray.search.space.nodes import List, Object
from voxray.search.space.parse import Parser
from voxray.search.space.sampling import Space

KEYS = ("let", "architecture", "experiment")


def load_space(path: Path) -> Space:
    """Read and check a space file.

    Raises
    ------
    ConfigError
        With every problem and its key path, such as ``architecture[1].of[0].num_output``.
    """
    return parse_space(read_json(path, "space", "Check --space"), str(path))


def parse_space(raw: Any, where: str) -> Space:
    """Check a parsed space.

    Besides syntax errors, layers and settings that decisions can give but that no architecture or experiment file may
    hold are problems. Whether a network fits its input is determined for each sample.

    Raises
    ------
    ConfigError
    """
    content = raw.get("architecture") if isinstance(raw, dict) else None
    if not isinstance(content, list | dict):
        problem = "'architecture' is missing or no list" if isinstance(raw, dict) else f"got {type(raw).__name__}"
        raise ConfigFileError(where, f'expected {{"architecture": [ … ], "experiment": {{ … }}}}, {problem}')
    problems = [f"{key}: unknown key; {nearest(key, KEYS)}" for key in raw if key not in KEYS]
    parser = Parser()
    lets, names = parser.lets(raw.get("let", {}), "let", {})
    parse_content: Any = parser.items if isinstance(content, list) else parser.object
    architecture: List | Object = parse_content(content, "architecture", names)
    settings = parser.settings(raw.get("experiment", {}), names)
    problems += parser.finish()
    space = Space(where, lets, architecture, settings, (2, 3))
    if not problems:
        space, problems = check_samples(space)
    if problems:
        raise ConfigFileError(where, "\n  ".join(["the space has problems.", *problems]))
    return space
