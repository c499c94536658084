import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
from ingesting import ingest
from scenes import experiment, write_luna

from voxray.config.data import DataSpec
from voxray.config.labels import SETTINGS
from voxray.config.load import load_experiment
from voxray.datasets.base import Layout
from voxray.datasets.layouts import LAYOUTS, check_layout, read_manifest, recognize_layout
from voxray.datasets.manifest import Manifest, quarantine_rows, scans_table, whole_scan_samples
from voxray.errors import ConfigError
from voxray.patches.planned import plan_experiment
from voxray.storage.paths import AnyPath


def read_folders(root: AnyPath, classes: tuple[str, ...] | None = None) -> Manifest:
    """What a new layout's module holds: a folder for each class, with one NIfTI file for each scan."""
    names = classes or tuple(sorted(path.name for path in root.iterdir() if path.is_dir()))
    rows = [
        {"scan_id": f"{name}/{path.name}", "path": f"{name}/{path.name}", "row": row, "label": label}
        for label, name in enumerate(names)
        for row, path in enumerate(sorted((root / name).glob("*.nii.gz")))
    ]
    return Manifest(root, names, scans_table(rows), whole_scan_samples(rows), quarantine_rows([]))


@pytest.fixture
def folders(monkeypatch: pytest.MonkeyPatch) -> Layout:
    added = Layout("folders", read_folders, ("classes",), recognize=lambda root: (root / "well").is_dir())
    monkeypatch.setitem(LAYOUTS, added.name, added)
    return added


def test_a_layout_is_one_entry_and_then_its_folders_are_recognized_and_ingested(
    folders: Layout, tmp_path: Path, out: Path
) -> None:
    root = tmp_path / "scans"
    for name in ("ill", "well"):
        (root / name).mkdir(parents=True)
        for number in range(6):
            voxels = np.random.default_rng([number, len(name)]).integers(0, 99, (8, 8, 4)).astype(np.int16)
            nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), root / name / f"{number}.nii.gz")
    assert recognize_layout(root) == "folders"
    patches = {"size": [8, 8, 4], "sampling": "whole", "pad_value": 0}
    data = {"layout": "folders", "classes": ("well", "ill")}
    store = ingest(experiment(root, out, data=data, patches=patches))
    rows = [row for split in ("train", "val", "test") for row in store.rows(split).to_pylist()]
    assert {row["scan_id"]: row["label"] for row in rows} == {
        f"{name}/{number}.nii.gz": int(name == "ill") for name in ("ill", "well") for number in range(6)
    }


def test_an_unknown_layout_is_refused_before_any_work_with_the_nearest_name(tmp_path: Path, out: Path) -> None:
    write_luna(tmp_path / "luna", 1)
    spec = experiment(tmp_path / "luna", out, data={"layout": "lunar16"})
    with pytest.raises(ConfigError, match=r"data\.layout: unknown layout 'lunar16'; did you mean 'luna16'\?"):
        plan_experiment(spec)
    assert not out.exists()
    with pytest.raises(ConfigError, match="known: brats2020, decathlon, dicom, luna16, medmnist, mosmed, table"):
        read_manifest(DataSpec(layout="xyz", root="/nowhere"))


def test_a_setting_of_another_layout_is_refused(tmp_path: Path) -> None:
    data = DataSpec(layout="table", root=str(tmp_path), candidates="candidates.csv")
    with pytest.raises(ConfigError, match=r"data\.candidates: layout 'table' does not use it, got 'candidates.csv'"):
        check_layout(data)
    assert check_layout(DataSpec(layout="table", root="a", manifest="b.csv", channels=("a", "b"))).name == "table"


def test_every_layout_of_the_shipped_experiments_is_known_and_uses_their_settings(project: Path) -> None:
    layouts = [check_layout(load_experiment(path).data) for path in (project / "configs/experiments").glob("*.toml")]
    assert {layout.name for layout in layouts} == LAYOUTS.keys() - {"dicom"}


def test_every_setting_of_a_layout_is_one_of_the_data_section() -> None:
    assert {name for layout in LAYOUTS.values() for name in layout.all_settings} == DataSpec.model_fields.keys() - {
        "layout",
        "root",
        *SETTINGS,
    }


def test_the_documentation_covers_every_layout_and_its_settings(project: Path) -> None:
    text = (project / "docs" / "layouts.md").read_text()
    for layout in LAYOUTS.values():
        assert f"\n## {layout.name}\n" in text
        assert all(f"data.{name}" in text for name in layout.all_settings), layout
    named = set(re.findall(r"`(\w+\.toml)`", text))
    assert named <= {path.name for path in (project / "configs" / "experiments").iterdir()}
