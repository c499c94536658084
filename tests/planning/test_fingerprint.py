"""The fingerprint of a data set, beside an independent computation."""

from pathlib import Path

import numpy as np
import pytest
from inspection_scenes import image_of, mask_of, write_cases

from voxray.config.data import DataSpec
from voxray.datasets.layouts import read_manifest
from voxray.executors import get_executor
from voxray.planning.fingerprint import build_fingerprint, measure_scans


def test_a_fingerprint_has_what_is_inside_the_masks_of_all_scans(tmp_path: Path) -> None:
    write_cases(tmp_path, 4)
    manifest = read_manifest(DataSpec(layout="decathlon", root=str(tmp_path)))
    data = build_fingerprint(manifest, measure_scans(manifest, get_executor("local"), lambda *_: None), ("CT",))

    inside = np.concatenate([image_of(number)[mask_of() > 0] for number in range(4)])
    (intensity,) = data.intensities
    low, high = np.percentile(inside, (0.5, 99.5))
    assert (intensity.low, intensity.high) == pytest.approx((low, high), abs=6)
    assert intensity.mean == pytest.approx(inside.mean(), rel=0.01)
    assert intensity.deviation == pytest.approx(inside.std(), rel=0.01)
    assert (intensity.is_ct, intensity.least >= 0) == (True, True)

    assert data.counts.tolist() == (4 * np.bincount(mask_of().ravel())).tolist()
    assert data.extents.tolist() == [[12, 11, 10]] * 4
    assert data.content_share == 1
    assert (data.masks, data.located, data.points, data.whole_numbers) == (True, False, False, True)
