"""What a user reads for each malformed input: where, what is wrong, the value and what to do; never a traceback."""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scenes import SMALL_NET, experiment, write_luna, write_toml

from voxray.cli.app import main

ACTIONS = (
    *("Add", "Change", "Check", "Choose", "Correct", "Create", "Delete", "Fetch", "Free", "Give", "Ingest", "Known:"),
    *(
        "Lower",
        "Name",
        "Predict",
        "Reduce",
        "Re-run",
        "Remove",
        "Repair",
        "Run",
        "See",
        "Set",
        "Submit",
        "Use",
        "Write",
    ),
)
REMEDY = re.compile(
    rf"(^|[.] )({'|'.join(ACTIONS)}) .|For example .|did you mean '.+'\?|known: .|expected .+, got .|must be .|"
    r"should be .+, got .|; fetch it again|: missing\. Give |change one of them"
)


@dataclass(frozen=True)
class Scene:
    """A folder with a valid experiment, its data and a small architecture, to be spoiled."""

    folder: Path
    luna: Path

    @property
    def file(self) -> Path:
        return self.folder / "small.toml"

    def write(self, **changes: Any) -> Path:
        (self.folder / "architecture.json").write_text(SMALL_NET)
        return write_toml(self.file, experiment(self.luna, self.folder / "run", **changes))

    def text(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def copy_luna(self) -> Path:
        return Path(shutil.copytree(self.luna, self.folder / "luna"))


@dataclass(frozen=True)
class Mistake:
    """A malformed input: what spoils the scene and returns the command, and what its message has to name."""

    spoil: Callable[[Scene], list[object]]
    where: str
    got: str
    code: int = 2


def with_setting(setting: str, command: str = "train") -> Callable[[Scene], list[object]]:
    return lambda scene: [command, scene.write(), "--set", setting]


def with_architecture(text: str) -> Callable[[Scene], list[object]]:
    def spoil(scene: Scene) -> list[object]:
        return ["describe", scene.text("net.json", text), "--input", "1x16x16x6"]

    return spoil


def with_data(layout: str, files: dict[str, str], **settings: Any) -> Callable[[Scene], list[object]]:
    def spoil(scene: Scene) -> list[object]:
        root = scene.folder / "data"
        root.mkdir()
        for name, text in files.items():
            scene.text(f"data/{name}", text)
        return ["ingest", scene.write(data={"layout": layout, "root": str(root), **settings})]

    return spoil


def with_candidates(change: Callable[[str], str]) -> Callable[[Scene], list[object]]:
    def spoil(scene: Scene) -> list[object]:
        root = scene.copy_luna()
        path = root / "candidates.csv"
        path.write_text(change(path.read_text()))
        return ["ingest", scene.write(data={"root": str(root)})]

    return spoil


def bad_toml(scene: Scene) -> list[object]:
    return ["run", scene.text("small.toml", 'name = "a"\nseed = [1')]


def damaged_scan(scene: Scene) -> list[object]:
    root = scene.copy_luna()
    raw = next(root.glob("subset1/*.raw"))
    raw.write_bytes(raw.read_bytes()[:100])
    return ["ingest", scene.write(data={"root": str(root)})]


def store_of_other_patches(scene: Scene) -> list[object]:
    assert voxray("ingest", scene.write(), "--no-ray") == 0
    return ["ingest", scene.file, "--set", "patches.size=[8, 8, 6]"]


def damaged_store(scene: Scene) -> list[object]:
    assert voxray("ingest", scene.write(), "--no-ray") == 0
    scene.text("run/store/zarr.json", "{")
    return ["train", scene.file]


def something_else_in_the_place_of_the_store(scene: Scene) -> list[object]:
    scene.text("run/store/notes.txt", "mine")
    return ["ingest", scene.write()]


def damaged_model(scene: Scene) -> list[object]:
    scene.text("run/model.safetensors", "weights")
    return ["predict", scene.folder / "run", scene.text("a.nii", "0"), "--out", scene.folder / "out"]


def damaged_scan_to_predict(scene: Scene) -> list[object]:
    network = scene.text("net.json", '[{"type": "T", "activation": null}]')
    data = {"layout": "table", "root": str(pictures(scene))}
    spec = scene.write(data=data, model={"architecture": str(network)}, **PICTURES)
    assert voxray("run", spec, "--no-ray") == 0
    return ["predict", scene.folder / "run", scene.text("a.png", "0"), "--out", scene.folder / "out"]


PICTURES: dict[str, Any] = {
    "patches": {"size": [16, 16, 1], "negatives_per_positive": "all", "pad_value": 0},
    "store": {"dtype": "uint8"},
}


def pictures(scene: Scene) -> Path:
    from PIL import Image

    rng, lines = np.random.default_rng(0), ["path,label,split"]
    for number in range(12):
        path = scene.folder / "pictures" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (16, 16), dtype=np.uint8)).save(path)
        lines.append(f"{path.name},{number % 2},{('train', 'val', 'test')[number // 2 % 3]}")
    scene.text("pictures/manifest.csv", "\n".join(lines))
    return scene.folder / "pictures"


def not_an_archive(scene: Scene) -> list[object]:
    return ["ingest", scene.write(data={"layout": "medmnist", "root": str(scene.text("a.npz", "0"))})]


def space_file(text: str, *options: str) -> Callable[[Scene], list[object]]:
    def spoil(scene: Scene) -> list[object]:
        space = scene.text("space.json", text)
        return ["tune", scene.write(), "--space", space, "--out", scene.folder / "search", "--dry-run", *options]

    return spoil


SPACE = (Path(__file__).parents[1] / "configs" / "spaces" / "cnn3d.json").read_text(encoding="utf-8")
HUGE_RATE = {"training": {"optimizer": "sgd", "learning_rate": 1e20}}


def training_that_diverges(scene: Scene) -> list[object]:
    assert voxray("ingest", scene.write(**HUGE_RATE), "--no-ray") == 0
    return ["train", scene.file]


def only_negatives(scene: Scene) -> list[object]:
    write_luna(scene.folder / "luna", 2, positives=1)
    return ["run", scene.write(data={"root": str(scene.folder / "luna")})]


MISTAKES = {
    "bad TOML": Mistake(bad_toml, "small.toml", "Unclosed array"),
    "no experiment": Mistake(lambda scene: ["run", scene.folder / "none.toml"], "none.toml", "none.toml"),
    "folder as experiment": Mistake(lambda scene: ["run", scene.folder], "", "got a folder"),
    "unknown key": Mistake(with_setting("training.epoch=5"), "training.epoch", "epochs"),
    "old key": Mistake(with_setting("training.l2=0.1"), "training.l2", "'weight_decay'"),
    "unknown section": Mistake(with_setting("trainning.epochs=5"), "trainning", "training"),
    "too small": Mistake(with_setting("training.epochs=0"), "training.epochs", "0"),
    "wrong type": Mistake(with_setting("seed='x'"), "seed", "'x'"),
    "not a setting": Mistake(with_setting("epochs"), "--set", "'epochs'"),
    "value as table": Mistake(with_setting("seed.x=1"), "--set", "seed"),
    "rules between keys": Mistake(with_setting("split.fold=1"), "split", "1"),
    "pad value": Mistake(with_setting("store.dtype='uint8'"), "patches.pad_value", "-1000"),
    "unknown layout": Mistake(with_setting("data.layout='luna'", "ingest"), "data.layout", "luna16"),
    "unknown loss": Mistake(with_setting("training.loss='hinge'", "run"), "training.loss", "'hinge'"),
    "unknown monitor": Mistake(with_setting("training.monitor='auc'", "run"), "training.monitor", "'auc'"),
    "windows": Mistake(with_setting("intensity.window=[[0, 1], [0, 1]]", "run"), "intensity.window", "2"),
    "class weights": Mistake(with_setting("training.class_weights=[1, 2, 3]", "run"), "training.class_weights", "3"),
    "unset variable": Mistake(with_setting("out='${VOXRAY_UNSET}/a'"), "out", "VOXRAY_UNSET"),
    "protocol": Mistake(with_setting("out='ftp://a/b'"), "out", "ftp://a/b"),
    "password in a URL": Mistake(with_setting("out='s3://me:secret@a/b'"), "out", "'@'"),
    "no key": Mistake(with_setting("privacy.key_env='VOXRAY_UNSET'", "ingest"), "privacy.key_env", "0"),
    "no architecture": Mistake(with_setting("model.architecture='none.json'", "run"), "none.json", "none.json"),
    "bad JSON": Mistake(with_architecture("[{"), "net.json", "line 1"),
    "unknown layer": Mistake(with_architecture('[{"type": "X"}]'), "[0].type", "'X'"),
    "no layers": Mistake(with_architecture("3"), "net.json", "int"),
    "key of a layer": Mistake(with_architecture('[{"type": "T", "activate": 1}]'), "[0].activate", "activation"),
    "kernel": Mistake(
        with_architecture('[{"type": "P", "pool": "max", "kernel_size": [0, 2, 2], "stride": [2, 2, 2]}]'),
        "[0].kernel_size", "0",
    ),
    "input": Mistake(
        lambda scene: ["describe", scene.text("net.json", SMALL_NET), "--input", "8"], "--input", "'8'"
    ),
    "no data": Mistake(with_setting("data.root='none'", "ingest"), "none", "none"),
    "no LUNA16": Mistake(with_data("luna16", {}), "data", "subset0"),
    "no column": Mistake(with_data("table", {"manifest.csv": "path,lable\na.png,0\n"}), "manifest.csv", "lable"),
    "no rows": Mistake(with_data("table", {"manifest.csv": "path,label\n"}), "manifest.csv", "no rows"),
    "unknown split": Mistake(
        with_data("table", {"manifest.csv": "path,label,split\na.png,0,training\nb.png,1,val"}),
        "manifest.csv", "'training'",
    ),
    "not a CSV file": Mistake(with_data("table", {"manifest.csv": "path,label\na,b,c\n"}), "manifest.csv", "3"),
    "not a number": Mistake(
        with_candidates(lambda text: text.replace("\n", "\n1.3.6.1.0.000,x,1,1,0\n", 1)), "candidates.csv", "x"
    ),
    "unknown scan": Mistake(
        with_candidates(lambda text: text.replace("1.3.6.1.0.", "9.9.")), "luna", "none of the listed samples"
    ),
    "bad dataset.json": Mistake(with_data("decathlon", {"dataset.json": "{"}), "dataset.json", "line 1"),
    "no dataset.json": Mistake(with_data("decathlon", {}), "dataset.json", "dataset.json"),
    "no labels in dataset.json": Mistake(with_data("decathlon", {"dataset.json": "{}"}), "dataset.json", "'labels'"),
    "no folders": Mistake(with_data("mosmed", {}), "data", "folder"),
    "not an archive": Mistake(not_an_archive, "a.npz", "cannot be read"),
    "no series": Mistake(with_data("dicom", {"labels.csv": "patient_id,label\n"}), "data", "labels.csv"),
    "damaged scan": Mistake(damaged_scan, "store.max_quarantined", "1 of 8 scans"),
    "an empty class": Mistake(only_negatives, "luna", "class"),
    "inspection of nothing": Mistake(lambda scene: ["inspect", scene.folder / "none"], "none", "none"),
    "inspection of no scans": Mistake(
        lambda scene: ["inspect", scene.text("x/notes.txt", "mine").parent], "x", "no scan"
    ),
    "no store": Mistake(lambda scene: ["train", scene.write()], "store", "no patch store"),
    "store of other patches": Mistake(store_of_other_patches, "store", "size was [16, 16, 6], now [8, 8, 6]", code=1),
    "something else": Mistake(something_else_in_the_place_of_the_store, "store", "notes.txt", code=1),
    "damaged store": Mistake(damaged_store, "zarr.json", "", code=1),
    "no model": Mistake(
        lambda scene: ["predict", scene.folder / "run", scene.text("a.nii", "0"), "--out", scene.folder / "out"],
        "run", "model",
    ),
    "damaged model": Mistake(damaged_model, "model.safetensors", "", code=1),
    "damaged scan to predict": Mistake(damaged_scan_to_predict, "predict", "1 of 1 scans", code=1),
    "no run": Mistake(lambda scene: ["status", scene.folder / "none"], "none", "no stage"),
    "divergence": Mistake(training_that_diverges, "training", "nan", code=1),
    "no space": Mistake(
        lambda scene: ["tune", scene.write(), "--space", scene.folder / "s.json", "--out", scene.folder / "o"],
        "s.json", "s.json",
    ),
    "bad space": Mistake(space_file("[{"), "space.json", "line 1"),
    "unknown metric": Mistake(space_file(SPACE, "--metric", "val/luck"), "--metric", "'val/luck'"),
    "unknown unit": Mistake(space_file(SPACE, "--max-memory", "8 apples"), "--max-memory", "'8 apples'"),
    "two objectives": Mistake(
        lambda scene: ["tune", scene.write(), "--space", scene.text("s.json", "{}"), "--out", scene.folder / "o",
                       "--minimize", "parameters", "--search", "random"], "--minimize", "two",
    ),
    "unknown job": Mistake(lambda scene: ["submit", "inhale", scene.write()], "submit", "'inhale'"),
}  # fmt: skip


def voxray(*arguments: object) -> int:
    """Exit code of a command."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.parametrize("name", MISTAKES)
def test_a_message_says_where_what_and_what_to_do(
    name: str, luna: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mistake = MISTAKES[name]
    monkeypatch.chdir(tmp_path)
    words = mistake.spoil(Scene(tmp_path, luna))
    if words[0] in ("run", "ingest", "train", "predict", "inspect"):
        words.append("--no-ray")
    capsys.readouterr()
    code = voxray(*words)
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert code == mistake.code
    message = next(line for line in error.split("voxray: ", 1)[1:])
    where, _, problem = message.strip().partition(": ")
    assert mistake.where in message
    assert mistake.got in message
    assert where
    for line in problem.splitlines()[1:] or [problem]:
        assert REMEDY.search(line.strip()), line
