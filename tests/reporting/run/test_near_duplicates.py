from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from voxray.inspection.patch_duplicates import PatchDuplicates, PatchPair, write_patch_duplicates
from voxray.reporting.run.contents import RunContents
from voxray.reporting.run.near_duplicates import near_duplicates
from voxray.reporting.run.page import render_page
from voxray.runs.folder import RunFolder


def test_a_report_shows_the_pairs_or_says_that_nobody_searched(
    make_run: Callable[..., RunContents], tmp_path: Path
) -> None:
    run = replace(make_run(), folder=tmp_path)
    assert near_duplicates(run) is None
    pair = PatchPair(("train", 3), ("val", 2), 0.971)
    file = RunFolder(tmp_path).near_duplicates
    write_patch_duplicates(file, PatchDuplicates("another store", 1, 40, (pair,)))
    assert near_duplicates(run) is None, "of other patches"
    write_patch_duplicates(file, PatchDuplicates(run.store.content_digest, 1, 40, (pair,)))
    found = near_duplicates(run)
    assert found is not None
    assert found.text == "1 of 40 patches of val and test look almost the same as a patch of another split"
    (shown,) = found.pairs
    assert shown.correlation == "0.97"
    assert [picture.split for picture in shown.pictures] == ["training", "validation"]
    first, second = (picture.uri for picture in shown.pictures)
    assert first != second
    assert first in render_page(run)
