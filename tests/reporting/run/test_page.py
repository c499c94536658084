"""The report as a file: self-contained, safe, reproducible."""

import base64
import io
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from voxray.errors import StoreError
from voxray.metrics.metric import Metric
from voxray.metrics.registry import METRICS
from voxray.reporting.run.contents import RunContents, find_best_epoch, read_run
from voxray.reporting.run.page import render_page, write_report

MakeRun = Callable[..., RunContents]
EVERY_CHART = {
    "chart-loss",
    "chart-score",
    "chart-validation",
    "chart-learning-rate",
    "chart-data-wait",
    "chart-throughput",
    "chart-roc",
    "chart-precision-recall",
    "chart-calibration",
    "chart-scores-val",
    "chart-scores-test",
    "confusion-val",
    "confusion-test",
}


class _Page(HTMLParser):
    """The links, tags, ids and visible text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "srcset", "action", "data"):
                self.links.append(str(value))
            if name == "id":
                self.ids.append(str(value))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def plain_run(make_run: MakeRun) -> RunContents:
    """A run of two classes with all splits."""
    return make_run()


@pytest.fixture(scope="module")
def plain_html(plain_run: RunContents) -> str:
    """Its report."""
    return render_page(plain_run)


def test_a_page_is_self_contained(plain_html: str) -> None:
    html, page = plain_html, _Page(plain_html)
    assert page.links
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert not {"script", "link", "iframe", "object", "base"} & set(page.tags)
    assert not re.findall(r"url\((?!#)|@import", html)
    assert "://" not in html


def test_rotated_rows_of_training_are_counted(plain_html: str) -> None:
    assert "Rows incl. rotations" in plain_html


def test_every_chart_of_a_run_is_there_once(plain_html: str) -> None:
    ids = _Page(plain_html).ids
    assert set(ids) >= EVERY_CHART
    assert len(ids) == len(set(ids))


def test_text_from_the_data_is_escaped(make_run: MakeRun) -> None:
    evil = '<script>alert("1")</script>'
    quarantine = [
        {"scan_id": evil, "path": "a.mhd", "row": None, "kind": "scan", "samples": 3, "reason": f"bad {evil}"}
    ]
    run = make_run(classes=("$x^{$", "<b>&"), quarantine=quarantine)
    page = _Page(render_page(replace(run, experiment=run.experiment.model_copy(update={"name": evil}))))
    assert "script" not in page.tags
    assert "bad [scan]" in page.text
    assert "<b>& patches" in page.text


def test_a_run_of_one_epoch_without_test_split_says_so(make_run: MakeRun) -> None:
    run = make_run(splits=("train", "val"))
    text = _Page(render_page(replace(run, history=run.history[:1]))).text
    assert "1 epoch, best: 1" in text
    assert "There is no test split" in text
    assert "in the validation split" in text
    assert "in the test split" not in text


def test_an_undefined_metric_is_a_dash_and_a_reason(make_run: MakeRun) -> None:
    run = make_run(only_label=0)  # No positive in the test split.
    assert run.metrics["test"]["recall"] is None
    text = _Page(render_page(run)).text
    assert "Recall, test: the split has no nodule patch" in text
    assert "ROC AUC, test: " in text
    assert "Recall, validation" not in text
    assert "nan" not in text.lower().replace("cannot", "")


def training_with(run: RunContents, **settings: Any) -> RunContents:
    """The run with other settings of training."""
    training = run.experiment.training.model_copy(update=settings)
    return replace(run, experiment=run.experiment.model_copy(update={"training": training}))


def first_card(html: str) -> str:
    """The text of the first headline."""
    return _Page(html[html.index("<article") : html.index("</article>")]).text


def test_the_monitor_of_the_experiment_is_the_first_headline(plain_run: RunContents, plain_html: str) -> None:
    assert "Balanced accuracy" not in first_card(plain_html)
    chosen = first_card(render_page(training_with(plain_run, monitor="balanced_accuracy")))
    assert chosen.index("Balanced accuracy") < chosen.index("Recall") < chosen.index("Average precision")
    # A metric that only epochs have is no headline.
    assert first_card(render_page(training_with(plain_run, monitor="recall_at_precision"))) == first_card(plain_html)


def with_interval(values: dict[str, Any], key: str) -> str:
    ends = values["intervals"][key]
    return f"{values[key]:.3f}" + (f" <small>{ends[0]:.3f} to {ends[1]:.3f}</small>" if ends else "")


def test_each_class_has_its_metrics_with_their_means(make_run: MakeRun) -> None:
    run = make_run(classes=("a", "b", "c"))
    html = render_page(run)
    table = html[html.index('<table id="classes-val">') :]
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in table[: table.index("</table>")].split("<tr>")]
    _, heading, *classes, macro, _ = rows
    assert heading == ["Validation", "Precision", "Recall", "F1", "Specificity", "ROC AUC", "Support"]
    keys = ("precision", "recall", "f1", "specificity", "roc_auc")
    metrics = run.metrics["val"]
    for name, row in zip("abc", classes, strict=True):
        values = metrics["classes"][name]
        assert row == [name, *(with_interval(values, key) for key in keys), str(values["support"])]
    assert any("<small>" in cell for cell in macro)
    assert macro == ["macro mean", *(with_interval(metrics["macro"], key) for key in keys), "24"]


def test_a_report_says_which_metrics_chose_the_epoch_and_ended_training(plain_run: RunContents) -> None:
    settings = {"epochs": 9, "early_stopping_epochs": 1, "early_stopping_monitor": "accuracy", "monitor": "loss"}
    text = " ".join(_Page(render_page(training_with(plain_run, **settings))).text.split())
    assert (
        "The weights of epoch 2 were kept (lowest validation loss). "
        "Training stopped after epoch 3: no better validation accuracy for 1 epoch." in text
    )
    assert "no better" not in render_page(training_with(plain_run, **settings | {"epochs": 3}))


def test_the_same_run_gives_the_same_bytes(
    plain_run: RunContents, plain_html: str, write_run: Callable[[RunContents, Path], Path], tmp_path: Path
) -> None:
    folder = write_run(plain_run, tmp_path / "run")
    read = replace(read_run(folder, plain_run.store), versions=plain_run.versions)
    write_report(tmp_path / "reports" / "report.html", read)
    assert [path.name for path in (tmp_path / "reports").iterdir()] == ["report.html"]
    assert (tmp_path / "reports" / "report.html").read_bytes() == plain_html.encode()


def test_no_folder_of_this_machine_is_displayed(make_run: MakeRun) -> None:
    reason = "No such file: '/mnt/elsewhere/y.raw'"
    rows = [{"scan_id": "x", "path": "x.mhd", "kind": "scan", "samples": 1, "reason": reason}]
    html = render_page(make_run(quarantine=rows))
    assert "secret_place" not in html
    assert "elsewhere" not in html
    assert "y.raw" in html


def test_the_first_picture_is_the_worst_false_negative(plain_run: RunContents, plain_html: str) -> None:
    run, html = plain_run, plain_html
    val = run.predictions["val"]
    positives = np.flatnonzero(val.labels == 1)
    missed = positives[val.probabilities[positives, 1] < run.threshold]
    assert len(missed)
    worst = missed[val.probabilities[missed, 1].argmin()]
    section = html[html.index("False negatives, validation") :]
    assert f"<b>{val.probabilities[worst, 1]:.3f}</b>" in section[: section.index("</figcaption>")]
    sources = re.findall(r'src="data:image/png;base64,([^"]+)"', section)[:4]
    displayed = [np.asarray(Image.open(io.BytesIO(base64.b64decode(source)))) for source in sources]
    voxels = run.store.read_patches("val", np.array([val.rows["slot"][int(worst)].as_py()]))[0, 0]
    gray = np.round(255 * (voxels.astype(float) + 1000) / 1400)
    for z, pixels in enumerate(displayed):
        # Right at the left, anterior up: both axes run backwards.
        assert np.abs(pixels.astype(float) - gray[::-1, ::-1, z].T).max() <= 1


def test_more_than_two_classes_have_means_and_no_threshold(make_run: MakeRun) -> None:
    page = _Page(render_page(make_run(classes=("none", "cyst", "nodule"))))
    assert "The model assigns the correct one of 3 classes to" in page.text
    assert "mean over the classes" in page.text
    assert "Threshold" not in page.text
    assert {"chart-roc-val", "chart-roc-test", "chart-precision-recall-test", "confusion-test"} <= set(page.ids)


def test_a_run_that_is_not_evaluated_names_the_missing_file(
    plain_run: RunContents, write_run: Callable[[RunContents, Path], Path], tmp_path: Path
) -> None:
    folder = write_run(plain_run, tmp_path / "run")
    (folder / "predictions" / "val.parquet").unlink()
    with pytest.raises(StoreError, match=r"val\.parquet.*voxray evaluate"):
        read_run(folder, plain_run.store)


@pytest.mark.parametrize(
    ("best", "values", "epoch"),
    [
        ("loss", [0.5, 0.3, 0.3], 2),
        ("roc_auc", [0.5, float("nan"), 0.7], 3),
        ("loss", [float("nan")], None),
        ("loss", [], None),
    ],
)
def test_the_best_epoch_is_the_first_with_the_best_value(best: str, values: list[float], epoch: int | None) -> None:
    history: list[dict[str, Any]] = [{"epoch": n, f"val_{best}": value} for n, value in enumerate(values, 1)]
    assert find_best_epoch(history, best) == epoch


def test_a_newly_registered_metric_is_in_the_table(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    prevalence = Metric(
        "prevalence", "Prevalence", lambda samples: samples.labels.mean(), "share of {positive} {levels}"
    )
    monkeypatch.setitem(METRICS, "prevalence", prevalence)
    html = render_page(make_run())
    assert '<tr><th scope="row">Prevalence</th>' in html
    assert "share of nodule patches" in html
