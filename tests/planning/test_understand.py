import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arranged_folders import SHAPE, write_mask, write_pairs, write_scan, write_voxels
from ingesting import ingest
from scenes import SMALL_UNET, experiment

from voxray.config.data import DataSpec
from voxray.datasets.layouts import read_manifest
from voxray.errors import DataError
from voxray.planning.manifest import describe, write_manifest
from voxray.planning.understand import Understood, understand
from voxray.stages.outline import plan_run

PAIRS = [(f"images/{name}.nii.gz", f"masks/{name}.nii.gz") for name in "abc"]


def reasons(found: Understood) -> dict[str, str]:
    return {item.path: item.reason for item in found.left_over}


def reread(found: Understood, folder: Path) -> Any:
    """The manifest as an experiment in a folder reads it."""
    folder.mkdir(exist_ok=True)
    write_manifest(found, folder)
    return read_manifest(DataSpec.model_validate({**found.data, "manifest": str(folder / "manifest.csv")}))


def test_images_and_masks_become_a_table_that_an_experiment_reads(tmp_path: Path) -> None:
    root = write_pairs(tmp_path / "data", *PAIRS, values=(0, 1, 2))
    found = understand(root)
    assert (found.task, found.classes, found.channels) == (
        "segmentation",
        ("background", "class 1", "class 2"),
        ("image",),
    )
    assert found.data == {
        "layout": "table",
        "root": str(root),
        "manifest": "./manifest.csv",
        "classes": ["background", "class 1", "class 2"],
    }
    manifest = reread(found, tmp_path / "mine")
    assert manifest.digest() == found.manifest.digest()
    assert manifest.scans["label_path"].to_pylist() == [mask for _, mask in PAIRS]
    assert sorted(path.name for path in root.iterdir()) == ["images", "masks"]
    lines = describe(found)
    assert lines[0] == "images and masks, paired by their names: 3 scans of 3 patients, segmentation"
    assert "mask of images/a.nii.gz: masks/a.nii.gz" in lines


def test_what_was_understood_is_ingested_and_planned_for_training(tmp_path: Path) -> None:
    root = write_pairs(tmp_path / "data", *[(f"images/{name}.nii.gz", f"masks/{name}.nii.gz") for name in "abcdefgh"])
    mine = tmp_path / "mine"
    found = understand(root)
    reread(found, mine)
    spec = experiment(
        root,
        mine / "run",
        data={**found.data, "manifest": str(mine / "manifest.csv")},
        patches={"size": [4, 4, 2], "sampling": "foreground", "oversample_rotations": [], "pad_value": 0},
    )
    (mine / "architecture.json").write_text(json.dumps(SMALL_UNET))
    assert plan_run(spec).plan.task == "segmentation"
    store = ingest(spec)
    assert store.info.masks
    assert tuple(store.info.classes) == ("background", "foreground")
    assert len(store.quarantine) == 0


def test_channels_that_a_case_lacks_leave_it_out_by_name(tmp_path: Path) -> None:
    for case in "abc":
        write_scan(tmp_path / f"{case}_t1.nii.gz")
        write_mask(tmp_path / f"{case}_seg.nii.gz")
    for case in "ab":
        write_scan(tmp_path / f"{case}_t2.nii.gz")
    write_scan(tmp_path / "a_dwi.nii.gz")
    found = understand(tmp_path)
    assert found.channels == ("t1", "t2")
    assert found.data["channels"] == ["t1", "t2"]
    assert found.manifest.scans["path"].to_pylist() == ["{a_t1.nii.gz,a_t2.nii.gz}", "{b_t1.nii.gz,b_t2.nii.gz}"]
    assert reasons(found) == {
        "a_dwi.nii.gz": "only 1 of 3 cases have a file 'dwi'",
        "c": "has no file of the channel 't2'",
    }


def test_masks_that_do_not_fit_are_left_over_with_the_reason(tmp_path: Path) -> None:
    write_pairs(tmp_path, *PAIRS)
    for name in "defg":
        write_scan(tmp_path / f"images/{name}.nii.gz")
    write_mask(tmp_path / "masks/d.nii.gz", shape=(6, 5, 3))
    write_mask(tmp_path / "masks/e.nii.gz", shift_mm=3)
    write_voxels(tmp_path / "masks/f.nii.gz", np.full(SHAPE, 0.5, np.float32))
    (tmp_path / "masks/g.nii.gz").write_bytes(b"nothing")
    found = understand(tmp_path)
    assert found.manifest.scans.num_rows == 3
    assert [item.path for item in found.left_over] == [f"images/{name}.nii.gz" for name in "defg"]
    shape, place, values, damaged = (item.reason for item in found.left_over)
    assert "its mask has 6x5x3 voxels, got an image of 6x5x4" in shape
    assert "another position" in place
    assert "masks/f.nii.gz: expected whole numbers as labels, got 0.5" in values
    assert "masks/g.nii.gz" in damaged


def test_a_folder_of_masks_that_holds_images_is_refused(tmp_path: Path) -> None:
    for number, (image, mask) in enumerate(PAIRS):
        write_scan(tmp_path / image, number)
        write_scan(tmp_path / mask, number + 10)
    with pytest.raises(DataError, match=r"3 of 3 masks look like images: masks/a\.nii\.gz has \d+ different values"):
        understand(tmp_path)


@pytest.mark.parametrize(
    ("values", "words"),
    [((0, -1), "masks need at most 255 values from 0 to 65,535"), ((0, 0), "no mask has a labeled voxel")],
)
def test_values_that_cannot_be_classes_are_refused(tmp_path: Path, values: tuple[int, ...], words: str) -> None:
    with pytest.raises(DataError, match=words):
        understand(write_pairs(tmp_path, *PAIRS, values=values))


@pytest.mark.parametrize(
    ("values", "classes", "settings", "note"),
    [
        (
            (0, 255),
            ["background", "foreground"],
            {"label_values": [0, 255]},
            "the values of the masks are 0 background, 255 foreground",
        ),
        (
            (0, 1, 2, 4),
            ["background", "class 1", "class 2", "class 4"],
            {"label_values": [0, 1, 2, 4]},
            "the values of the masks are 0 background, 1 class 1, 2 class 2, 4 class 4",
        ),
        (
            (0, 1, 255),
            ["background", "foreground"],
            {"ignore_label": 255},
            "voxels with the value 255 count as not labeled; if it is a class, put it into data.label_values",
        ),
    ],
)
def test_values_other_than_0_1_2_are_written_to_the_experiment_and_said(
    tmp_path: Path, values: tuple[int, ...], classes: list[str], settings: dict[str, Any], note: str
) -> None:
    found = understand(write_pairs(tmp_path / "data", *PAIRS, values=values))
    assert {name: found.data.get(name) for name in settings} == settings
    assert found.data["classes"] == classes
    assert f"note: {note}" in describe(found)
    manifest = reread(found, tmp_path / "mine")
    assert manifest.labels == found.manifest.labels


CLASS_FILES = {
    "case/class": ["{case}/image.nii.gz", "{case}/liver.nii.gz", "{case}/tumor.nii.gz"],
    "a folder beside the image": ["{case}/ct.nii.gz", "{case}/segmentations/liver.nii.gz", "{case}/seg/tumor.nii.gz"],
    "case_class": ["images/p_{case}.nii.gz", "masks/p_{case}_liver.nii.gz", "masks/p_{case}_tumor.nii.gz"],
    "class/case": ["images/p_{case}.nii.gz", "labels/liver/p_{case}.nii.gz", "labels/tumor/p_{case}.nii.gz"],
    "words": ["{case}/img.nii.gz", "{case}/liver_mask.nii.gz", "{case}/mask-tumor.nii.gz"],
}


@pytest.mark.parametrize("names", CLASS_FILES.values(), ids=CLASS_FILES)
def test_a_file_for_each_class_is_one_mask(tmp_path: Path, names: list[str]) -> None:
    root = tmp_path / "data"
    for number, case in enumerate(("a1", "b2", "c3")):
        image, liver, tumor = (root / name.format(case=case) for name in names)
        write_scan(image, number)
        voxels = np.zeros(SHAPE, np.uint8)
        voxels[:4] = 255
        write_voxels(liver, voxels)
        voxels[:], voxels[3:5] = 0, 1
        if case != "c3":
            write_voxels(tumor, voxels)
    found = understand(root)
    assert found.classes == ("background", "liver", "tumor")
    assert found.data["mask_columns"] == ["liver", "tumor"]
    _, liver, tumor = names
    first, _, last = found.manifest.scans["label_path"].to_pylist()
    assert first == f"{{{liver.format(case='a1')},{tumor.format(case='a1')}}}"
    assert last == f"{{{liver.format(case='c3')},}}"
    assert any("'liver' and 'tumor' overlap in " in note for note in found.notes)
    assert list(map(len, found.mask_values.values())) == [3, 3, 2]
    assert found.left_over == ()
    manifest = reread(found, tmp_path / "mine")
    assert manifest.digest() == found.manifest.digest()


def test_folders_of_masks_are_no_classes_where_each_case_is_in_one_of_them(tmp_path: Path) -> None:
    write_pairs(tmp_path, *[(f"images/p{n}.nii.gz", f"masks/site{n % 2}/p{n}.nii.gz") for n in range(4)])
    found = understand(tmp_path)
    assert found.classes == ("background", "foreground")
    assert "masks/site1/p1.nii.gz" in found.manifest.scans["label_path"].to_pylist()
    for n in range(3):
        write_scan(tmp_path / f"one/p{n}/ct.nii.gz", n)
        write_mask(tmp_path / f"one/p{n}/segmentations/liver.nii.gz", (0, 255))
    found = understand(tmp_path / "one")
    assert (found.classes, found.data["label_values"]) == (("background", "foreground"), [0, 255])


def test_a_list_may_name_a_file_for_each_class(tmp_path: Path) -> None:
    for case in "ab":
        write_scan(tmp_path / f"{case}.nii.gz")
        write_mask(tmp_path / f"{case}_1.nii.gz")
        write_mask(tmp_path / f"{case}_2.nii.gz")
    rows = [f"{case}.nii.gz,{case}_1.nii.gz,{case}_2.nii.gz" for case in "ab"]
    (tmp_path / "cohort.csv").write_text("\n".join(["scan,liver mask,tumor mask", *rows]))
    found = understand(tmp_path)
    assert found.classes == ("background", "liver", "tumor")
    assert found.manifest.scans["label_path"].to_pylist()[0] == "{a_1.nii.gz,a_2.nii.gz}"


def test_what_is_wrong_with_files_of_classes_is_said_with_their_names(tmp_path: Path) -> None:
    for case in "abcd":
        write_scan(tmp_path / f"{case}/image.nii.gz")
        write_mask(tmp_path / f"{case}/masks/liver.nii.gz", (0, 1, 1))
        write_mask(tmp_path / f"{case}/masks/tumor.nii.gz")
    write_mask(tmp_path / "b/masks/tumor.nii.gz", shape=(6, 5, 3))
    write_voxels(tmp_path / "c/masks/tumor.nii.gz", np.full(SHAPE, 0.5, np.float32))
    write_mask(tmp_path / "d/masks/spleen.nii.gz", (0, 0, 0, 1))
    write_scan(tmp_path / "e/image.nii.gz")
    found = understand(tmp_path)
    wrong = reasons(found)
    assert "its files have different shapes" in wrong["b/image.nii.gz"]
    assert "tumor.nii.gz: expected whole numbers as labels, got 0.5" in wrong["c/image.nii.gz"]
    assert wrong["e/image.nii.gz"] == "no mask has its name"
    assert found.warnings == ("the class 'spleen' is in one scan only: d/image.nii.gz",)


def test_one_case_is_refused_and_a_class_in_one_case_is_a_warning(tmp_path: Path) -> None:
    write_pairs(tmp_path / "one", PAIRS[0])
    write_scan(tmp_path / "one/images/z.nii.gz")
    with pytest.raises(
        DataError, match=r"2 or more patients, got 1; left over: images/z\.nii\.gz: no mask has its name"
    ):
        understand(tmp_path / "one")
    write_pairs(tmp_path / "rare", *PAIRS)
    write_mask(tmp_path / "rare/masks/b.nii.gz", (0, 1, 2))
    assert understand(tmp_path / "rare").warnings == ("the class 'class 2' is in one scan only: images/b.nii.gz",)


def test_raw_data_of_nnunet_has_names_channels_and_a_test_split(tmp_path: Path) -> None:
    content = {
        "channel_names": {"0": "FLAIR", "1": "T1"},
        "labels": {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3},
        "regions_class_order": [2, 1],
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    for case, end in (("a", "Tr"), ("b", "Tr"), ("c", "Ts")):
        for channel in range(2):
            write_scan(tmp_path / f"images{end}/{case}_000{channel}.nii.gz")
        write_mask(tmp_path / f"labels{end}/{case}.nii.gz", (0, 1, 2))
    write_scan(tmp_path / "imagesTs/d_0000.nii.gz")
    found = understand(tmp_path)
    assert found.kind == "raw data of nnU-Net v2"
    assert found.classes == ("background", "whole", "core")
    settings = {"regions": {"whole": [1, 2], "core": [2]}, "ignore_label": 3}
    assert {name: found.data[name] for name in settings} == settings
    assert "classes" not in found.data
    assert "label maps hold [1, 2] for the regions, not [2, 1]" in found.notes
    assert reread(found, tmp_path.parent / "mine").labels == found.manifest.labels
    assert found.channels == ("FLAIR", "T1")
    assert found.manifest.scans["split"].to_pylist() == ["train", "train", "test"]
    assert reasons(found) == {"imagesTs/d_0000.nii.gz": "no mask has its name"}
    write_mask(tmp_path / "labelsTr/b.nii.gz", (0, 7))
    (tmp_path / "labelsTs/c.nii.gz").unlink()
    with pytest.raises(DataError, match="its mask has the value 7, which has no name"):
        understand(tmp_path)


def test_class_folders_are_a_classification(tmp_path: Path) -> None:
    for name in (
        "train/well/a.nii.gz",
        "train/well/b.nii.gz",
        "train/ill/p1/c.nii.gz",
        "test/ill/p2/d.nii.gz",
        "x.nii.gz",
    ):
        write_scan(tmp_path / name)
    found = understand(tmp_path)
    assert (found.task, found.classes) == ("classification", ("ill", "well"))
    assert found.manifest.samples["label"].to_pylist() == [0, 0, 1, 1]
    assert found.manifest.scans["patient_id"].to_pylist()[:2] == ["ill/p2", "ill/p1"]
    assert reasons(found) == {"x.nii.gz": "lies in the folder of no class"}
    with pytest.raises(DataError, match="holds no masks, which a segmentation learns"):
        understand(tmp_path, "segmentation")


def test_a_list_is_read_under_any_sensible_header_names(tmp_path: Path) -> None:
    for name in "abc":
        write_scan(tmp_path / f"scans/{name}.nii.gz")
        write_mask(tmp_path / f"contours/{name}.nii.gz")
    lines = ["Subject;Image Name;Diagnosis;Lesion Mask;set", "1;scans/a.nii.gz;ill;contours/a.nii.gz;training"]
    lines += ["1;scans/b.nii.gz;well;;training", "2;scans/c;ill;contours/c.nii.gz;validation", "3;d;ill;;test"]
    (tmp_path / "cohort.csv").write_text("\n".join(lines))
    found = understand(tmp_path)
    assert (found.task, found.classes) == ("classification", ("ill", "well"))
    assert found.manifest.scans["label_path"].to_pylist() == ["contours/a.nii.gz", None, "contours/c.nii.gz"]
    assert found.manifest.scans["patient_id"].to_pylist() == ["1", "1", "2"]
    assert found.manifest.scans["split"].to_pylist() == ["train", "train", "val"]
    assert reasons(found) == {"cohort.csv, line 5": "no file is called 'd'"}
    masks = understand(tmp_path / "cohort.csv", "segmentation")
    assert masks.task == "segmentation"
    assert masks.manifest.scans["path"].to_pylist() == ["scans/a.nii.gz", "scans/c.nii.gz"]
    assert reread(masks, tmp_path / "mine").masks_are_targets


def test_a_mask_that_does_not_fit_does_not_cost_a_labeled_scan(tmp_path: Path) -> None:
    write_pairs(tmp_path, *PAIRS)
    write_mask(tmp_path / "masks/b.nii.gz", shift_mm=3)
    rows = [f"{image},{mask},{number % 2}" for number, (image, mask) in enumerate(PAIRS)]
    (tmp_path / "cohort.csv").write_text("\n".join(["scan,mask,label", *rows]))
    found = understand(tmp_path)
    assert found.manifest.scans["label_path"].to_pylist() == ["masks/a.nii.gz", None, "masks/c.nii.gz"]
    assert [item.path for item in found.left_over] == ["images/b.nii.gz"]
    (tmp_path / "again.csv").write_text("\n".join(["scan,mask,label", *rows]))
    with pytest.raises(DataError, match=r"holds several lists of scans: again\.csv, cohort\.csv"):
        understand(tmp_path)


def test_a_list_that_names_no_class_gives_way_to_the_masks_in_the_folder(tmp_path: Path) -> None:
    write_pairs(tmp_path, *PAIRS)
    (tmp_path / "ages.csv").write_text("\n".join(["scan,age", *[f"{image},40" for image, _ in PAIRS]]))
    assert understand(tmp_path).kind == "images and masks, paired by their names"


def test_a_known_layout_is_taken_as_it_is(tmp_path: Path) -> None:
    write_pairs(tmp_path, *[(f"imagesTr/{name}.nii.gz", f"labelsTr/{name}.nii.gz") for name in "ab"])
    training = [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in "ab"]
    content = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "organ"}, "training": training}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    found = understand(tmp_path)
    assert found.data == {"layout": "decathlon", "root": str(tmp_path)}
    assert (found.classes, found.channels, found.table) == (("background", "organ"), ("CT",), None)


def test_a_folder_of_scans_alone_is_refused_with_what_is_known(tmp_path: Path) -> None:
    for name in "ab":
        write_scan(tmp_path / f"{name}.nii.gz")
    with pytest.raises(DataError, match=r"holds 2 scans without masks, classes or a list: a\.nii\.gz, b\.nii\.gz"):
        understand(tmp_path)
    with pytest.raises(DataError, match="no such folder or file"):
        understand(tmp_path / "nowhere")
