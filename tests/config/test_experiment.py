from pathlib import Path

import pytest

from voxray.config.load import load_experiment
from voxray.errors import ConfigError

MINIMAL = """
name = "a"
out = "runs/a"
[data]
layout = "luna16"
root = "{root}"
[patches]
size = [64, 64, 10]
[model]
architecture = "net.json"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sub" / "a.toml"
    path.parent.mkdir()
    path.write_text(MINIMAL.format(root="../scans"))
    return path


def problems(path: Path, *settings: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_experiment(path, settings)
    return str(caught.value)


def test_the_defaults_are_those_of_the_published_system(file: Path) -> None:
    spec = load_experiment(file)
    assert spec.patches.negatives_per_positive == 5
    assert spec.patches.oversample_rotations == (90, 180, 270)
    assert spec.patches.pad_value == -1000
    assert spec.intensity.window == (-1000, 400)
    assert (spec.training.optimizer, spec.training.learning_rate, spec.training.weight_decay) == ("adam", 1e-3, 1e-3)
    assert (spec.training.batch_size, spec.split.test) == (300, 0.2)


def test_paths_in_the_file_are_relative_to_it_and_those_of_set_to_the_working_folder(
    file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    spec = load_experiment(file, ["out=here"])
    assert spec.data.root == str(tmp_path / "scans")
    assert spec.model.architecture == str(file.parent / "net.json")
    assert spec.out == str(tmp_path / "elsewhere" / "here")
    assert spec.store_path == Path(spec.out) / "store"


def test_paths_take_environment_variables_with_a_default(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(MINIMAL.format(root="${VOXRAY_TEST_ROOT:-/default}/x"))
    assert load_experiment(file).data.root == "/default/x"
    monkeypatch.setenv("VOXRAY_TEST_ROOT", "/set")
    assert load_experiment(file).data.root == "/set/x"
    file.write_text(MINIMAL.format(root="${VOXRAY_TEST_NOWHERE}"))
    assert "VOXRAY_TEST_NOWHERE is not set" in problems(file)


def test_all_problems_are_listed_at_once_with_file_key_and_remedy(file: Path) -> None:
    text = problems(file, "training.epoch=3", "training.batch_size=0", "patches.size=[0, 4]", "split.val=0.9")
    assert str(file) in text
    assert "training.epoch: unknown key; did you mean 'epochs'?" in text
    assert "training.batch_size" in text
    assert "got 0" in text
    assert "patches.size[0]" in text
    assert "val and test together" in text


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("store.dtype=uint8",), "patches.pad_value: -1000 is no number of store.dtype 'uint8'"),
        (("patches.size=[32, 64, 10]",), "patches.oversample_rotations: 90 and 270 want a square patch, got 32x64"),
        (("patches.oversample_rotations=[45]",), "patches.oversample_rotations[0]"),
        (("intensity.window=[400, -1000]",), "the lower end must be below the upper end"),
        (("augment.rotate_range=5", "augment.rotate_choices=[5, 10]"), "augment.rotate_choices: has no meaning beside"),
        (("training",), "wants key.path=value, got 'training'"),
        (("name.first=3",), "'name' in 'name.first' is a value, not a table"),
        (("training.learning_rate=nan",), "training.learning_rate"),
    ],
)
def test_what_cannot_be_is_named(file: Path, settings: tuple[str, ...], words: str) -> None:
    assert words in problems(file, *settings)


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    assert "no such experiment file" in problems(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("name = ")
    assert "not a TOML file" in problems(tmp_path / "bad.toml")


def test_two_numbers_mean_a_patch_of_one_slice(file: Path) -> None:
    assert load_experiment(file, ["patches.size=[64, 64]"]).patches.size == (64, 64, 1)


def test_every_shipped_experiment_loads(project: Path) -> None:
    files = sorted((project / "configs" / "experiments").glob("*.toml"))
    assert files
    for path in files:
        spec = load_experiment(path)
        assert Path(spec.model.architecture).is_file(), path
