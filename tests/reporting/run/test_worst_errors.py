"""Which patches are displayed, and their orientation."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from voxray.config.preprocessing import IntensitySpec
from voxray.reporting.run.contents import RunContents
from voxray.reporting.run.page import render_page
from voxray.reporting.run.worst_errors import ErrorCase, Slice, choose_correct, error_groups, find_worst
from voxray.visualization.slices import display_slices, is_picture, shorten_id, to_display_range


@given(
    labels=arrays.arrays(np.int64, 12, elements=st.integers(0, 1)),
    scores=arrays.arrays(np.float64, 12, elements=st.floats(0, 1)),
    threshold=st.floats(0, 1),
)
def test_the_worst_false_negatives_are_the_positives_with_the_lowest_scores(
    labels: np.ndarray, scores: np.ndarray, threshold: float
) -> None:
    predicted = (scores >= threshold).astype(np.int64)
    chosen = find_worst(labels, predicted, np.stack([1 - scores, scores], axis=1), 1, 3)
    missed = sorted(score for score, label in zip(scores, labels, strict=True) if label == 1 and score < threshold)
    assert scores[chosen].tolist() == missed[:3]
    assert (labels[chosen] == 1).all()


def test_the_worst_false_positives_have_the_highest_scores() -> None:
    scores = np.array([0.2, 0.9, 0.7, 0.95, 0.6])
    labels = np.array([0, 0, 0, 1, 0])
    chosen = find_worst(labels, (scores >= 0.5).astype(int), np.stack([1 - scores, scores], axis=1), 0, 2)
    assert chosen.tolist() == [1, 2]


def test_anterior_is_up_and_the_patients_right_is_at_the_left() -> None:
    patch = np.zeros((1, 3, 4, 2), np.float32)
    patch[0, 2, 3, 1] = 1  # RAS: the right-most, most anterior voxel of the upper slice.
    slices = display_slices(patch, picture=False)
    assert slices.shape == (2, 4, 3)
    assert slices[1, 0, 0] == 255
    assert slices.sum() == 255


def test_a_slice_of_several_channels_shows_each_of_them() -> None:
    patch = np.random.default_rng(0).random((4, 3, 5, 1), np.float32)
    slices = display_slices(patch, picture=False)
    assert slices.shape == (4, 5, 3)
    np.testing.assert_array_equal(slices[2], np.round(255 * patch[2, ::-1, ::-1, 0].T).astype(np.uint8))


def test_what_has_no_window_is_displayed_between_its_percentiles() -> None:
    patches = torch.from_numpy(np.random.default_rng(0).normal(500, 90, (2, 2, 8, 8, 1)) * [[[[[1]]], [[[30]]]]])
    displayed = to_display_range(patches, IntensitySpec(kind="zscore_nonzero"))
    assert displayed.amin() == 0
    assert displayed.amax() == 1
    assert displayed.flatten(2).std(2).min() > 0.1
    assert to_display_range(patches, IntensitySpec(window=(0, 1))).unique().tolist() == [1.0]


def test_a_picture_keeps_its_lines_and_colors() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3))  # lines, columns, channels
    patch = (picture / 255).astype(np.float32).transpose(2, 1, 0)[..., None]
    assert (display_slices(patch, picture=True)[0] == picture).all()


def test_only_files_of_pictures_are_pictures() -> None:
    assert is_picture("images/A.JPG")
    assert is_picture("b.png")
    assert is_picture("train_images/17")
    assert not is_picture("scan.nii.gz")
    assert not is_picture("png/scan.mhd")


def test_a_short_id_is_the_end_of_a_long_one() -> None:
    assert shorten_id("images/image_1.jpg") == "image_1.jpg"
    long = "1.3.6.1.4.1.14519.5.2.1.6279.6001.100225287222365663678666836860"
    assert long.endswith(shorten_id(long).lstrip("…"))
    assert len(shorten_id(long)) == 20


@pytest.mark.parametrize(("slices", "columns"), [(0, 0), (1, 1), (10, 10), (13, 7), (24, 12)])
def test_many_slices_make_lines_of_about_equal_length(slices: int, columns: int) -> None:
    image = Slice("data:", 1, False)
    assert ErrorCase("scan", "scan", "", "", (image,) * slices).columns == columns


def test_correct_positives_are_spaced_from_the_surest_to_the_least_sure() -> None:
    scores = np.linspace(0.05, 0.95, 19)
    labels = np.arange(19) % 2
    chosen, total = choose_correct(labels, (scores >= 0.48).astype(int), np.stack([1 - scores, scores], axis=1), 2, 3)
    positives = [index for index in range(19) if labels[index] and scores[index] >= 0.48]
    assert total == len(positives)
    assert chosen.tolist() == [positives[-1], positives[len(positives) // 2], positives[0]]


def test_with_more_classes_the_median_of_each_is_chosen() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    probabilities = np.array([[0.9, 0.1, 0], [0.5, 0.4, 0.1], [0.7, 0.2, 0.1], [0, 1, 0], [1, 0, 0], [0, 1, 0]])
    chosen, total = choose_correct(labels, probabilities.argmax(1), probabilities, 3, 4)
    assert (chosen.tolist(), total) == ([2, 3], 4)
    assert choose_correct(labels, probabilities.argmax(1), probabilities, 3, 1)[0].tolist() == [2]


def test_the_report_of_a_perfect_network_displays_patches_too(make_run: Callable[..., RunContents]) -> None:
    run = make_run()
    perfect = {
        split: replace(part, probabilities=np.eye(2)[part.labels].clip(0.01, 0.99))
        for split, part in run.predictions.items()
    }
    groups = error_groups(replace(run, predictions=perfect))
    assert [group.title for group in groups if group.cases] == ["Correct positives, test"]
    correct = next(group for group in groups if group.cases)
    assert correct.summary.startswith("8 of 8 nodule patches of the test split predicted correctly; 4 are displayed")
    assert [case.scores for case in correct.cases] == ["0.990"] * 4


def test_a_network_that_finds_nothing_has_no_correct_positive(make_run: Callable[..., RunContents]) -> None:
    run = make_run()
    blind = {
        split: replace(part, probabilities=np.tile([1.0, 0.0], (len(part.labels), 1)))
        for split, part in run.predictions.items()
    }
    groups = {group.title: group for group in error_groups(replace(run, predictions=blind))}
    assert groups["Correct positives, test"].summary == "0 of 8 nodule patches of the test split predicted correctly"


def test_patches_that_cannot_be_read_are_a_note(make_run: Callable[..., RunContents]) -> None:
    run = make_run()
    for shard in (run.store.path / "test").rglob("c/**/*"):
        if shard.is_file():
            shard.write_bytes(b"damaged")
    html = render_page(run)
    section = html[html.index("False negatives, test") : html.index("False negatives, validation")]
    assert "No images: the patches of the store cannot be read." in section
    assert "<img" not in section
    assert "<img" in html[html.index("False negatives, validation") :]


def test_a_position_has_no_negative_zero(make_run: Callable[..., RunContents]) -> None:
    run = make_run()
    test = run.predictions["test"]
    column = pa.array(np.full(test.rows.num_rows, -0.04), test.rows.schema.field("y_mm").type)
    rows = test.rows.set_column(test.rows.column_names.index("y_mm"), "y_mm", column)
    groups = error_groups(replace(run, predictions={**run.predictions, "test": replace(test, rows=rows)}))
    assert ", y 0.0, " in groups[0].cases[0].position
