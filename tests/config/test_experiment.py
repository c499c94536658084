from pathlib import Path

import pytest

from voxray.config.data import NegativesSpec
from voxray.config.experiment import Experiment
from voxray.config.load import load_experiment
from voxray.config.validation import Spec
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
    assert spec.patches.negatives_per_positive == NegativesSpec(train=5, val="all", test="all")
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


def test_a_manifest_with_a_path_lies_beside_the_experiment_and_a_name_in_the_root(file: Path) -> None:
    assert load_experiment(file, {"data.manifest": "list.csv"}).data.manifest == "list.csv"
    file.write_text(file.read_text().replace("[data]", '[data]\nmanifest = "./list.csv"'))
    assert load_experiment(file).data.manifest == str(file.parent / "list.csv")


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
        (("store.dtype=uint8",), "patches.pad_value: -1000 does not fit store.dtype 'uint8'"),
        (("patches.size=[32, 64, 10]",), "patches.oversample_rotations: 90 and 270 need a square patch, got 32x64"),
        (("patches.oversample_rotations=[45]",), "patches.oversample_rotations[0]"),
        (("intensity.window=[400, -1000]",), "the lower end must be below the upper end"),
        (("augment.rotate_range=5", "augment.rotate_choices=[5, 10]"), "augment.rotate_choices: has no effect beside"),
        (("training",), "expected key.path=value, got 'training'"),
        (("name.first=3",), "'name' in 'name.first' is a value, not a table"),
        (("training.learning_rate=nan",), "training.learning_rate"),
    ],
)
def test_what_cannot_be_is_named(file: Path, settings: tuple[str, ...], words: str) -> None:
    assert words in problems(file, *settings)


@pytest.mark.parametrize(
    ("setting", "nearest"),
    [
        ("training.l2=0.1", "weight_decay"),
        ("training.lr=0.1", "learning_rate"),
        ("training.best='loss'", "monitor"),
        ("training.weight_average=0.9", "ema_decay"),
        ("patches.fill=0", "pad_value"),
        ("patches.per_scan=3", "patches_per_scan"),
        ("patches.rotations=[90]", "oversample_rotations"),
        ("augment.quarter_turns=true", "rotate90"),
        ("augment.rotate_degrees=5", "rotate_range"),
        ("augment.rotate_angles=[5]", "rotate_choices"),
        ("evaluation.unit='patient'", "level"),
        ("data.format='dicom'", "layout"),
        ("sed=3", "seed"),
    ],
)
def test_an_unknown_key_names_the_setting_that_is_meant_also_by_the_words_of_other_programs(
    file: Path, setting: str, nearest: str
) -> None:
    key = setting.partition("=")[0]
    assert f"{key}: unknown key; did you mean '{nearest}'?" in problems(file, setting)


@pytest.mark.parametrize(
    ("text", "size"), [("4096", 4096), ("1MiB", 2**20), ("32 MiB", 2**25), ("1.5KiB", 1536), ("2MB", 2_000_000)]
)
def test_sizes_are_integers_or_text_with_a_unit_and_are_kept_as_integers(file: Path, text: str, size: int) -> None:
    spec = load_experiment(file, [f"store.chunk_bytes={text}", f"training.buffer_bytes={text}"])
    assert spec.store.chunk_bytes == spec.training.buffer_bytes == size
    assert f'"chunk_bytes":{size},' in spec.model_dump_json()


@pytest.mark.parametrize("text", ["1 potato", "-1MiB", "1.5", "true"])
def test_a_size_that_is_none_says_how_to_write_one(file: Path, text: str) -> None:
    words = 'store.shard_bytes: expected a number of bytes, or a size such as "1MiB", got'
    assert words in problems(file, f"store.shard_bytes={text}")
    assert "store.shard_bytes: should be greater than or equal to 1, got 0" in problems(file, "store.shard_bytes=0")


def test_every_setting_is_documented_and_every_other_word_names_one() -> None:
    pending: list[type[Spec]] = [Experiment]
    while pending:
        spec = pending.pop()
        assert set(spec.also_called.values()) <= set(spec.model_fields), spec
        for name, field in spec.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, Spec):
                pending.append(field.annotation)
            else:
                assert field.description, (spec, name)


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
