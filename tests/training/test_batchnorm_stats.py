from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from voxray.config.preprocessing import AugmentSpec, IntensitySpec
from voxray.loader.loader import Batch
from voxray.training.checkpoint import Progress
from voxray.training.distributed import frozen_batchnorm_stats
from voxray.training.inputs import Preprocessing
from voxray.training.step import Updates, train_epoch
from voxray.training.tasks import Classification

CPU = torch.device("cpu")


def test_a_batch_that_is_not_to_be_remembered_leaves_no_trace_and_the_next_one_does() -> None:
    model = nn.Sequential(nn.BatchNorm2d(2, momentum=0.3), nn.BatchNorm2d(2)).train()
    images = torch.rand(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    with frozen_batchnorm_stats(model):
        passed = model(images)
    for norm in model:
        assert torch.equal(norm.running_mean, torch.zeros(2))
        assert torch.equal(norm.running_var, torch.ones(2))
    torch.testing.assert_close(passed.mean((0, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    model(images)
    torch.testing.assert_close(model[0].running_mean, 0.3 * images.mean((0, 2, 3)))


def one_step(rows: int) -> Any:
    """A feed of one batch, whose patches are -1000 everywhere."""
    images = torch.full((rows, 1, 4, 4, 4), -1000, dtype=torch.int16)
    numbers, inside = torch.zeros(rows, dtype=torch.int64), torch.zeros((rows, 2, 3), dtype=torch.int64)
    places = np.arange(rows)
    batch = Batch(images, numbers, numbers, None, inside, None, places, places, 0, 3)
    return SimpleNamespace(steps=lambda epoch: np.array([[3]]), epoch=lambda epoch, first: iter([batch]), count=3)


def test_a_rank_whose_share_ran_out_leaves_no_trace_in_the_running_statistics() -> None:
    model = nn.Sequential(nn.BatchNorm3d(1), nn.Flatten(), nn.Linear(64, 2))
    preprocessing = Preprocessing(IntensitySpec(window=(0, 1)), AugmentSpec(), 3, 0, CPU)
    task = Classification("cross_entropy", None, 0.9, 0.74)
    for rows, moved in ((0, False), (2, True)):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        train_epoch(model, one_step(rows), optimizer, preprocessing, task, Progress(), Updates(lambda at, steps: 0.1))
        assert (float(model[0].running_var[0]) != 1) == moved
