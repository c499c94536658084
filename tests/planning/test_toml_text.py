"""Experiment files as text."""

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from voxray.planning.choices import Choice
from voxray.planning.toml_text import experiment_text, toml_value

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
scalars = texts | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False)


@given(st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=8))
def test_every_value_is_read_back(value: object) -> None:
    assert tomllib.loads(f"value = {toml_value(value)}")["value"] == value


def test_tables_have_a_comment_for_each_reason() -> None:
    size = Choice("patches.size", [8, 8], "of 16 × 16")
    choices = [size, Choice("store.dtype", "int16"), Choice("patches.whole", value=True)]
    text = experiment_text("A test.", {"name": "a"}, {"root": "b"}, choices)
    assert text.splitlines() == [
        *("# A test.", 'name = "a"', ""),
        *("[data]", 'root = "b"', ""),
        *("[patches]", "# of 16 × 16", "size = [8, 8]", "whole = true", ""),
        *("[store]", 'dtype = "int16"'),
    ]
