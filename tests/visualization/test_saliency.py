import io

import numpy as np
from PIL import Image

from voxray.visualization.saliency import MOST_SLICES, chosen_slices, evidence_picture

RNG = np.random.default_rng(0)


def test_the_slice_of_the_strongest_evidence_is_always_shown() -> None:
    for strongest in (0, 17, 63):
        evidence = np.zeros((1, 4, 5, 64), np.float32)
        evidence[0, 2, 2, strongest] = 1
        shown = chosen_slices(evidence)
        assert len(shown) <= MOST_SLICES
        assert (0, strongest) in shown
        assert shown == sorted(shown)
    assert chosen_slices(np.zeros((3, 4, 5, 2), np.float32)) == [(p, z) for p in range(3) for z in range(2)]


def test_evidence_is_red_and_what_has_none_stays_gray() -> None:
    images = RNG.random((1, 12, 12, 2), np.float32)
    evidence = np.zeros_like(images)
    evidence[0, :6] = 1
    picture, shown = evidence_picture(images, evidence, "ill 90 %, well 10 %", "ill")
    assert shown == [(0, 0), (0, 1)]
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)
    red = (pixels[..., 0] - pixels[..., 2]) > 60
    assert 0.02 < red.mean() < 0.4


def test_a_scan_without_evidence_has_a_picture_too() -> None:
    picture, _ = evidence_picture(np.zeros((2, 6, 6, 1), np.float32), np.zeros((2, 6, 6, 1), np.float32), "", "ill")
    assert Image.open(io.BytesIO(picture)).size[0] > 100
