import pytest

from voxray.config.data import DataSpec
from voxray.config.labels import MaskLabels, label_settings, mask_labels
from voxray.errors import ConfigError

BRATS = {"whole": [1, 2, 4], "core": [2, 4], "enhancing": [4]}
KITS = {"kidney": [1, 2, 3], "masses": [2, 3], "tumor": [2]}


def test_without_settings_the_values_are_those_of_the_classes() -> None:
    assert mask_labels(("background", "a", "b"), {}) == MaskLabels(("background", "a", "b"))
    assert MaskLabels(("background", "a", "b")).values == (0, 1, 2)


@pytest.mark.parametrize(
    ("regions", "written"), [(BRATS, [1, 2, 4]), (KITS, [1, 3, 2]), ({"a": [1, 2], "b": [2, 1]}, [1, 1])]
)
def test_a_region_is_written_as_the_first_value_that_no_later_region_has(
    regions: dict[str, list[int]], written: list[int]
) -> None:
    labels = mask_labels(("background", "anything"), {"regions": regions})
    assert labels.classes == ("background", *regions)
    assert [labels.values[number] for number in labels.written] == written
    values = [[labels.values[number] for number in numbers] for numbers in labels.regions]
    assert values == [sorted(members) for members in regions.values()]


def test_settings_that_do_not_fit_are_named() -> None:
    with pytest.raises(ConfigError, match=r"data\.label_values: expected a value for each of 3 classes, got 2"):
        mask_labels(("background", "a", "b"), {"label_values": (0, 255)})
    with pytest.raises(ConfigError, match=r"data\.ignore_label: is the value of a class too, got 2"):
        mask_labels(("background", "a", "b"), {"ignore_label": 2})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"label_values": [0, 255, 255]}, "each value may be that of one class"),
        ({"label_values": [0, 1], "regions": BRATS}, "regions name the values of masks themselves"),
        ({"ignore_label": 4, "regions": BRATS}, "ignore_label: is a value of a region too, got 4"),
        ({"mask_columns": ["a", "b"], "ignore_label": 3}, "a file for each class has no values to name"),
        ({"regions": {"whole": [0, 1]}}, "greater than or equal to 1"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        DataSpec.model_validate({"layout": "table", "root": ".", **settings})


def test_only_settings_that_are_given_belong_to_a_store() -> None:
    data = DataSpec(layout="table", root=".", ignore_label=0)
    assert label_settings(data) == {"ignore_label": 0}
    assert label_settings(DataSpec(layout="table", root=".")) == {}
