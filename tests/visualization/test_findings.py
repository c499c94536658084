import io

import numpy as np
import pytest
from PIL import Image

from voxray.visualization.findings import SIDE, WIDTH_MM, point_picture
from voxray.volume import Volume


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.float32])
def test_planes_at_the_corner_of_a_scan_show_its_voxels_and_nothing_beyond_them(dtype: type) -> None:
    volume = Volume(np.full((1, 90, 80, 40), 600, dtype), np.diag([1.0, 1.0, 2.0, 1.0]))
    volume.array[0, :20] = 0
    picture = Image.open(io.BytesIO(point_picture(volume, np.array([10.0, 5.0, 4.0]), 4.0, (0.0, 600.0))))
    assert picture.size == (3 * SIDE, SIDE)
    axial = np.asarray(picture.convert("L"))[:, :SIDE]
    # The patient's left, x below 0, is on the right side; y grows upward from below the scan.
    padded = np.zeros((70, 70))
    padded[45:, 30:] = 1  # x from 20 on and y from 0 on, where -25 and -30 are the first
    expected = np.kron(padded[::-1, ::-1].T, np.ones((2, 2)))
    shown = np.asarray(Image.fromarray(axial).resize((140, 140), Image.Resampling.BILINEAR)) > 127
    assert WIDTH_MM == 70
    assert (shown != (expected > 0)).mean() < 0.03
