import re
from pathlib import Path
from typing import Any

from api_runs import ApiRuns


def test_the_code_of_the_python_page_runs_and_prints_what_it_says(
    api_runs: ApiRuns, project: Path, capsys: Any
) -> None:
    page = (project / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 8
    names: dict[str, Any] = dict(api_runs.names)
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    output = capsys.readouterr().out
    for expected in re.findall(r"print\(.*?\) +# (.*)", page):
        assert expected in output
