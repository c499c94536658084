import pytest

from voxray.progress import rate_text


@pytest.mark.parametrize(
    ("per_s", "text"),
    [(0, "0.0 steps/s"), (1234.5, "1,234.5 steps/s"), (0.025, "1.5 steps/min"), (0.01, "36.0 steps/h")],
)
def test_a_rate_is_told_in_a_span_in_which_it_can_be_seen(per_s: float, text: str) -> None:
    assert rate_text(per_s, "steps") == text
