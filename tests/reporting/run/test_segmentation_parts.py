"""The report of a segmentation as a file."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from reporting.scan_runs import make_scan_run, write_scan_run

from voxray.reporting.run.contents import RunContents, read_run
from voxray.reporting.run.page import render_page, write_report


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunContents:
    """Four validation scans, the third is the worst."""
    folder = tmp_path_factory.mktemp("secret_place")
    return make_scan_run(folder, {"train": (0, 0), "val": (2, 0, 4, 1)})


@pytest.fixture(scope="module")
def html(run: RunContents) -> str:
    """Its report."""
    return render_page(run)


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))


def test_a_page_is_self_contained(html: str) -> None:
    links = re.findall(r'\b(?:src|srcset|href)="([^"]*)"', html)
    assert all(link.startswith(("#", "data:image/png;base64,", "data:image/webp;base64,")) for link in links)
    assert not re.findall(r"<script|<link|url\((?!#)|@import|://", html)
    assert "secret_place" not in html
    ids = re.findall(r'\bid="([^"]*)"', html)
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    assert {"chart-loss", "chart-validation", "chart-dice-val", "chart-hd95_mm-val", "metrics", "worst"} <= set(ids)


def test_the_worst_displayed_case_is_the_worst(run: RunContents, html: str) -> None:
    lowest = min(run.cases["val"], key=lambda case: case["dice"])
    assert lowest["scan_id"] == "val_2"
    table = html[html.index('<table id="worst">') :]
    assert re.findall(r'<th scope="row"[^>]*>([^<]*)<', table)[:4] == ["val_2", "val_0", "val_3", "val_1"]
    displayed = re.findall(r"<h3>(\w+ case) <span[^>]*>([^<]*)</span>", html)
    assert displayed == [("Best case", "val_1"), ("Median case", "val_0"), ("Worst case", "val_2")]
    assert f"mean Dice {lowest['dice']:.3f}" in html[html.index("Worst case") :]


def test_masks_are_not_rotated_and_have_no_column_of_rotations(html: str) -> None:
    assert "Rows incl. rotations" not in html


def test_each_case_has_three_planes_and_a_loop(html: str) -> None:
    cases = html[html.index('<section id="contours">') : html.index('<section id="scan">')]
    assert cases.count("<image ") == 9
    assert cases.count("<picture>") == cases.count("prefers-reduced-motion") == 3
    # Two in the legend; of each case both classes in the axial and sagittal plane, and one in the coronal.
    assert cases.count('<path class="truth" stroke="#') == 2 + 3 * (2 + 1 + 2)


def test_the_headline_is_the_mean_dice_of_the_metrics(run: RunContents, html: str) -> None:
    card = html[html.index('id="headline-val"') : html.index("All metrics")]
    values = re.findall(r'<span class="value"[^>]*>([^<]*)<', card)
    metrics = run.metrics["val"]
    assert values[:3] == [f"{metrics[key]:.3f}" for key in ("dice", "dice/head", "dice/tail")]
    assert values[3].endswith("mm")
    assert "Confusion" not in html


def test_the_same_run_gives_the_same_bytes(run: RunContents, html: str, tmp_path: Path) -> None:
    read = read_run(write_scan_run(run), run.store)
    write_report(tmp_path / "report.html", read)
    assert (tmp_path / "report.html").read_bytes() == html.encode()


def test_without_its_scans_a_page_says_so_and_keeps_its_metrics(tmp_path: Path) -> None:
    run = make_scan_run(tmp_path, {"val": (2, 0)})
    shutil.rmtree(tmp_path / "scans")
    html = render_page(run)
    assert "no longer exists" in text_of(html)
    assert "<image " not in html
    assert 'href="#scan"' not in html
    assert f"{run.metrics['val']['dice']:.3f}" in html
    assert str(tmp_path) not in html


def test_a_class_that_never_occurs_is_a_dash_and_a_reason(tmp_path: Path) -> None:
    run = make_scan_run(tmp_path, {"val": (2, 0)}, labels=(1,))
    assert run.metrics["val"]["dice/tail"] is None
    text = text_of(render_page(run))
    assert "Dice, tail, validation: no scan has the class in truth or prediction" in text
    assert "tail: Dice –" in text
    assert "Dice of tail excludes 2 of 2 scans in the validation split" in text
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)


def test_nothing_labeled_at_all_is_still_a_page(tmp_path: Path) -> None:
    text = text_of(render_page(make_scan_run(tmp_path, {"val": (0, 0)}, labels=())))
    assert "no metric is defined" in text
    assert "2 more without any class" in text


def test_one_class_and_both_splits_have_a_card_and_strips_each(tmp_path: Path) -> None:
    run = make_scan_run(tmp_path, {"val": (0,), "test": (1, 2)}, classes=("background", "organ"), labels=(1,))
    html = render_page(run)
    assert html.index('id="headline-test"') < html.index('id="headline-val"')
    assert {"chart-dice-val", "chart-dice-test"} <= set(re.findall(r'id="(chart-[^"]*)"', html))
    assert "The Dice of organ is" in html
    assert "mean Dice" not in text_of(html)
    assert "no interval: too few patients" in html


def test_text_from_the_data_is_escaped(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    run = make_scan_run(tmp_path, {"val": (0, 1)}, classes=("$x^{$", "<b>&", evil))
    cases = [{**case, "scan_id": f"{case['scan_id']}{evil}"} for case in run.cases["val"]]
    html = render_page(replace(run, cases={"val": cases}))
    assert "<script" not in html
    assert "<b>&<" not in html
    assert "&lt;script&gt;" in html
