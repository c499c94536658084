from pathlib import Path

import numpy as np
import pytest
from dicom_scenes import labeled, positions, save, segmentation, slices, stored_voxels, write_series

from voxray.errors import ScanError
from voxray.scans.header import read_header
from voxray.scans.masks import check_same_grid
from voxray.scans.read import open_file, open_scan


@pytest.mark.parametrize("folder", ["ct", "seg"])
@pytest.mark.parametrize("by_source", [False, True])
def test_binary_segments_lie_on_the_slices_of_their_series(tmp_path: Path, folder: str, by_source: bool) -> None:
    series, frames = slices(), labeled()
    write_series(tmp_path / "ct", series)
    places = [(1, 4), (2, 4), (1, 5)]
    path = save(segmentation(series, frames, places, by_source=by_source), tmp_path / folder / "seg.dcm")
    expected = np.zeros((7, 10, 12), np.uint8)
    expected[4] = np.where(frames[1], 2, frames[0])
    expected[5] = frames[2]
    np.testing.assert_array_equal(open_file(path).array[0], expected.transpose(2, 1, 0))
    scan = tmp_path / "ct"
    check_same_grid(read_header(scan), read_header(path), "scan")
    check_same_grid(open_scan(scan), open_scan(path), "scan")


def test_a_label_map_holds_the_numbers_of_its_segments(tmp_path: Path) -> None:
    series = slices()
    write_series(tmp_path / "ct", series)
    frames = np.random.default_rng(1).integers(0, 3, (2, 10, 12), dtype=np.uint8)
    path = save(segmentation(series, frames, [(0, 6), (0, 0)]), tmp_path / "seg" / "1")
    labels = open_file(path).array[0]
    np.testing.assert_array_equal(labels[:, :, 6], frames[0].T)
    np.testing.assert_array_equal(labels[:, :, 0], frames[1].T)
    assert not labels[:, :, 1:6].any()


def test_segments_without_their_series_or_off_its_slices_are_refused(tmp_path: Path) -> None:
    series = slices(stored_voxels())
    write_series(tmp_path / "a" / "ct", series)
    path = save(segmentation(series, labeled(), [(1, 0), (1, 1), (1, 2)]), tmp_path / "b" / "seg" / "seg.dcm")
    with pytest.raises(ScanError, match="the series that it refers to is neither in its folder nor in one beside it"):
        open_scan(path)
    off = segmentation(series, labeled(), [(1, 0), (1, 1), (1, 2)])
    off.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0].ImagePositionPatient = positions(9)[8].tolist()
    with pytest.raises(ScanError, match="has a frame at a position where its series has no slice"):
        open_scan(save(off, tmp_path / "a" / "seg" / "seg.dcm"))
    off.SegmentationType = "FRACTIONAL"
    with pytest.raises(ScanError, match="expected a segmentation of the type BINARY or LABELMAP, got FRACTIONAL"):
        open_scan(save(off, tmp_path / "a" / "seg" / "seg.dcm"))
