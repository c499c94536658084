import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from voxray.patches.balance import choose_fold


@given(st.integers(0, 60), st.integers(2, 6), st.integers(0, 5))
def test_folds_part_the_patients_and_their_strata_evenly(patients: int, folds: int, seed: int) -> None:
    names = np.array([f"p{number}" for number in range(patients)], dtype=str)
    strata = np.arange(patients) % 3 // 2
    chosen = np.array([choose_fold(names, strata, folds, fold, seed) for fold in range(folds)])
    assert (chosen.sum(0) == 1).all()
    assert np.ptp(chosen.sum(1)) <= 1
    for stratum in range(2):
        assert np.ptp(chosen[:, strata == stratum].sum(1)) <= 1
    shuffled = np.random.default_rng(seed).permutation(patients)
    again = choose_fold(names[shuffled], strata[shuffled], folds, 0, seed)
    assert set(names[shuffled][again]) == set(names[chosen[0]])
