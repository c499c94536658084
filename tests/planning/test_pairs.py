import pytest

from voxray.errors import DataError
from voxray.planning.found import Found
from voxray.planning.pairs import find_pairs


def pairs_of(*paths: str) -> Found:
    found = find_pairs(sorted(paths), "folder")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        (["images/a.nii.gz", "images/b.nii.gz"], ["masks/a.nii.gz", "masks/b.nii.gz"]),
        (["Images/a_0000.nii.gz", "Images/b_0000.nii.gz"], ["labels/a.nii.gz", "labels/b.nii.gz"]),
        (["imagesTr/a.mha", "imagesTr/b.mha"], ["labelsTr/a.mha", "labelsTr/b.mha"]),
        (["images/a.png", "images/b.png"], ["segmentations/a_seg.png", "segmentations/b_seg.png"]),
        (["images/img_1.png", "images/img_2.png"], ["masks/mask_1.png", "masks/mask_2.png"]),
        (["a/image.nii.gz", "b/image.nii.gz"], ["a/mask.nii.gz", "b/mask.nii.gz"]),
        (["a/imaging.nii.gz", "b/imaging.nii.gz"], ["a/segmentation.nii.gz", "b/segmentation.nii.gz"]),
        (["a/ct.nrrd", "b/ct.nrrd"], ["a/ct-label.nrrd", "b/ct-label.nrrd"]),
        (["a.nii", "b.nii"], ["a_seg.nii", "b_seg.nii"]),
        (["volume-0.nii", "volume-1.nii"], ["segmentation-0.nii", "segmentation-1.nii"]),
        (["img/img0001.nii.gz", "img/img0002.nii.gz"], ["label/label0001.nii.gz", "label/label0002.nii.gz"]),
        (["CT/a.nii.gz", "CT/b.nii.gz"], ["masks/a.nii.gz", "masks/b.nii.gz"]),
        (["train/images/a.png", "test/images/a.png"], ["train/masks/a.png", "test/masks/a.png"]),
        (["train_images/a.png", "test_images/b.png"], ["train_masks/a.png", "test_masks/b.png"]),
        (["p1/p1_frame01.nii.gz", "p1/p1_frame12.nii.gz"], ["p1/p1_frame01_gt.nii.gz", "p1/p1_frame12_gt.nii.gz"]),
        (
            ["sub-1/anat/sub-1_T1w.nii.gz", "sub-2/anat/sub-2_T1w.nii.gz"],
            ["derivatives/manual/sub-1/anat/sub-1_dseg.nii.gz", "derivatives/manual/sub-2/anat/sub-2_dseg.nii.gz"],
        ),
        (
            ["sub-1/ses-1/anat/sub-1_ses-1_T1w.nii.gz", "sub-1/ses-2/anat/sub-1_ses-2_T1w.nii.gz"],
            [
                "derivatives/x/sub-1/ses-1/anat/sub-1_ses-1_T1w_label-lesion_mask.nii.gz",
                "derivatives/x/sub-1/ses-2/anat/sub-1_ses-2_T1w_label-lesion_mask.nii.gz",
            ],
        ),
    ],
)
def test_an_image_and_its_mask_are_paired_by_their_names(images: list[str], masks: list[str]) -> None:
    found = pairs_of(*images, *masks)
    assert {tuple(case.files.values()): case.mask for case in found.cases} == dict(
        zip([(image,) for image in images], masks, strict=True)
    )
    assert found.left_over == ()


def test_sequences_of_a_case_are_its_channels() -> None:
    files = [f"{case}_{kind}.nii.gz" for case in ("a", "b_2") for kind in ("flair", "t1", "seg")]
    found = pairs_of(*files)
    assert [dict(case.files) for case in found.cases] == [
        {"flair": "a_flair.nii.gz", "t1": "a_t1.nii.gz"},
        {"flair": "b_2_flair.nii.gz", "t1": "b_2_t1.nii.gz"},
    ]
    numbered = pairs_of("images/a_0000.nii", "images/a_0001.nii", "labels/a.nii")
    assert list(numbered.cases[0].files) == ["channel_0", "channel_1"]
    in_folders = pairs_of("p1/p1_t1.nii", "p1/p1_t2.nii", "p1/seg.nii", "p2/p2_t1.nii", "p2/p2_t2.nii", "p2/seg.nii")
    assert [list(case.files) for case in in_folders.cases] == [["t1", "t2"], ["t1", "t2"]]


def test_splits_patients_and_classes_come_from_folders() -> None:
    found = pairs_of("train/images/a.png", "train/masks/a.png", "test/images/b.png", "test/masks/b.png")
    assert {case.name: case.split for case in found.cases} == {"a": "train", "b": "test"}
    acdc = pairs_of("patient1/patient1_frame01.nii", "patient1/patient1_frame01_gt.nii")
    assert acdc.cases[0].patient == "patient1"
    busi = [
        f"{name}/{name} ({number}){end}.png"
        for name in ("benign", "normal")
        for number in "12"
        for end in ("", "_mask")
    ]
    assert sorted(str(case.label) for case in pairs_of(*busi).cases) == ["benign", "benign", "normal", "normal"]


def test_what_does_not_match_one_to_one_is_left_over_with_names() -> None:
    found = pairs_of(
        "images/a.nii", "images/b.nii", "masks/a.nii", "masks/c.nii", "images/d.nii", "masks/d.nii", "labels/d.nii"
    )
    assert [case.name for case in found.cases] == ["a"]
    assert {item.path: item.reason for item in found.left_over} == {
        "images/b.nii": "no mask has its name",
        "masks/c.nii": "no image has the name of this mask",
        "d": "has 2 masks, expected one: labels/d.nii, masks/d.nii",
    }


def test_masks_without_any_image_are_an_error_and_images_without_masks_are_no_pairs() -> None:
    with pytest.raises(DataError, match=r"no image has the name of a mask, got the masks masks/x\.nii and the images"):
        find_pairs(["images/a.nii", "masks/x.nii"], "folder")
    assert find_pairs(["a.nii", "b.nii"], "folder") is None
