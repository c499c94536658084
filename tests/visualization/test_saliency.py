import io

import numpy as np
from PIL import Image

from voxray.visualization.saliency import MOST_SLICES, choose_slices, saliency_picture

RNG = np.random.default_rng(0)


def test_the_slice_of_the_highest_saliency_is_always_displayed() -> None:
    for highest in (0, 17, 63):
        saliency = np.zeros((1, 4, 5, 64), np.float32)
        saliency[0, 2, 2, highest] = 1
        displayed = choose_slices(saliency)
        assert len(displayed) <= MOST_SLICES
        assert (0, highest) in displayed
        assert displayed == sorted(displayed)
    assert choose_slices(np.zeros((3, 4, 5, 2), np.float32)) == [(p, z) for p in range(3) for z in range(2)]


def test_saliency_is_red_and_what_has_none_stays_gray() -> None:
    images = RNG.random((1, 12, 12, 2), np.float32)
    saliency = np.zeros_like(images)
    saliency[0, :6] = 1
    picture, displayed = saliency_picture(images, saliency, "ill 90 %, well 10 %", "ill")
    assert displayed == [(0, 0), (0, 1)]
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)
    red = (pixels[..., 0] - pixels[..., 2]) > 60
    assert 0.02 < red.mean() < 0.4


def test_a_scan_without_saliency_has_a_picture_too() -> None:
    picture, _ = saliency_picture(np.zeros((2, 6, 6, 1), np.float32), np.zeros((2, 6, 6, 1), np.float32), "", "ill")
    assert Image.open(io.BytesIO(picture)).size[0] > 100
