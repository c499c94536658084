import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss as sk_log_loss

from voxray.errors import DataError
from voxray.metrics.aggregate import aggregate_predictions, check_one_class_each, labels_and_probabilities, log_loss


@st.composite
def predictions(draw: st.DrawFn) -> pa.Table:
    """Patches of patients in any order; the class of a patient follows from its name."""
    members = draw(st.lists(st.integers(0, 5), min_size=1, max_size=30))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    probabilities = rng.dirichlet([1.0, 1.0, 1.0], len(members))
    return pa.table(
        {
            "patient_id": [f"p{number}" for number in members],
            "label": [number % 3 for number in members],
            "slot": list(range(len(members))),
            "probabilities": pa.array(probabilities.tolist(), pa.list_(pa.float64())),
        }
    )


@given(predictions())
def test_a_patient_has_the_mean_of_its_patches_and_its_own_class(table: pa.Table) -> None:
    units = aggregate_predictions(table, "patient")
    patients = np.array(table["patient_id"].to_pylist())
    assert units["patient_id"].to_pylist() == sorted(set(patients))
    labels, means = labels_and_probabilities(units)
    for name, label, mean in zip(units["patient_id"].to_pylist(), labels, means, strict=True):
        own = labels_and_probabilities(table)[1][patients == name]
        np.testing.assert_allclose(mean, own.mean(axis=0))
        assert label == int(name[1:]) % 3
    assert units.schema == table.schema


@given(predictions())
def test_a_patients_row_is_that_of_the_middle_one_of_its_patches(table: pa.Table) -> None:
    for row in aggregate_predictions(table, "patient").to_pylist():
        own = [each["slot"] for each in table.to_pylist() if each["patient_id"] == row["patient_id"]]
        assert row["slot"] == own[len(own) // 2]


@given(predictions())
def test_patches_are_judged_as_they_are(table: pa.Table) -> None:
    assert aggregate_predictions(table, "patch") is table
    assert aggregate_predictions(table.slice(0, 0), "patient").num_rows == 0


def test_patients_of_several_classes_are_refused() -> None:
    patients = np.array(["a", "b", "a", "c", "b", "b"])
    check_one_class_each(patients, np.array([1, 0, 1, 2, 0, 0]))
    with pytest.raises(DataError, match=r"evaluation\.level: .*got 1 with several, such as 'b'\. Set it to 'patch'"):
        check_one_class_each(patients, np.array([1, 0, 1, 2, 0, 1]))


def test_the_loss_is_that_of_scikit_learn_and_finite_where_the_truth_was_given_no_chance() -> None:
    rng = np.random.default_rng(0)
    probabilities, labels = rng.dirichlet([1.0, 2.0, 1.0], 50), rng.integers(0, 3, 50)
    assert log_loss(labels, probabilities) == pytest.approx(sk_log_loss(labels, probabilities, labels=[0, 1, 2]))
    assert math.isfinite(log_loss(np.array([0]), np.array([[0.0, 1.0]])))
    assert math.isnan(log_loss(np.array([], int), np.empty((0, 2))))
