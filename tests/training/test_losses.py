import pytest
import torch

from voxray.config.training import TrainingSpec
from voxray.training.losses import LOSSES
from voxray.training.losses.base import class_weights, local_loss
from voxray.training.schedule import learning_rate


@pytest.mark.parametrize("weighted", [False, True])
def test_parts_of_a_batch_add_up_to_torchs_own_loss(weighted: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(10, 3, generator=generator), torch.randint(0, 3, (10,), generator=generator)
    weights = torch.tensor([1.0, 2.0, 0.5]) if weighted else None
    parts = [
        local_loss(LOSSES["cross_entropy"], logits[part], labels[part], None, 10, weights=weights)
        for part in (slice(0, 3), slice(3, 10))
    ]
    each = torch.nn.functional.cross_entropy(logits, labels, weight=weights, reduction="sum")
    torch.testing.assert_close(sum(parts), each / 10)


def test_balanced_weights_are_inverse_shares_with_mean_one() -> None:
    counts = torch.tensor([90, 10])
    weights = class_weights("balanced", counts)
    assert weights is not None
    assert weights[1] / weights[0] == pytest.approx(9)
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1)
    assert class_weights("none", counts) is None
    given = class_weights((1.0, 3.0), counts)
    assert given is not None
    assert given[1] / given[0] == pytest.approx(3)


def test_learning_rates_warm_up_decay_and_end_as_their_schedules_say() -> None:
    spec = TrainingSpec(epochs=10, learning_rate=1.0)
    assert [learning_rate(spec, at, 10) for at in (0, 5, 10)] == [1.0, 1.0, 1.0]
    warm = spec.model_copy(update={"warmup_epochs": 2.0})
    assert learning_rate(warm, 1, 10) == pytest.approx(0.5)
    assert learning_rate(warm, 2, 10) == 1.0
    cosine = warm.model_copy(update={"schedule": "cosine"})
    assert [learning_rate(cosine, at, 10) for at in (2, 6, 10)] == pytest.approx([1, 0.5, 0])
    polynomial = warm.model_copy(update={"schedule": "polynomial"})
    assert [learning_rate(polynomial, at, 10) for at in (2, 6, 10)] == pytest.approx([1, 0.5**0.9, 0])
    falling = spec.model_copy(update={"schedule": "exponential", "decay": 0.5})
    assert [learning_rate(falling, at, 10) for at in (0.9, 1.1, 3)] == [1, 0.5, 0.125]


def test_the_rate_falls_after_every_so_many_steps_and_not_between_them() -> None:
    spec = TrainingSpec(epochs=10, learning_rate=1.0, schedule="exponential", decay=0.5, decay_steps=4)
    rates = [learning_rate(spec, epoch + step / 3, 3) for epoch in range(3) for step in range(3)]
    assert rates == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25]
