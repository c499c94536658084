from hypothesis import given
from hypothesis import strategies as st

from voxray.evaluation.scans import label_map_names

PARTS = st.sampled_from(["a", "A", "b", "a_b"])
PATHS = st.builds("{}/{}{}".format, PARTS, PARTS, st.sampled_from([".nii", ".nii.gz"]))


def test_a_label_map_has_the_name_of_its_scan() -> None:
    assert label_map_names(["imagesTr/c0.nii.gz", "imagesTr/c1.nii", "c2"]) == ["c0", "c1", "c2"]


@given(st.lists(PATHS, unique=True))
def test_no_two_scans_of_a_split_write_one_label_map(paths: list[str]) -> None:
    names = label_map_names(paths)
    assert len({name.casefold() for name in names}) == len(paths)
    assert not [name for name in names if "/" in name]
