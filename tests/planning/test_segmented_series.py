from pathlib import Path

import numpy as np
from dicom_scenes import labeled, save, segmentation, slices, stored_voxels, write_series

from voxray.planning.understand import understand


def test_series_and_the_segmentations_that_refer_to_them_are_pairs(tmp_path: Path) -> None:
    for number in range(3):
        series = slices(stored_voxels(number), PatientID=f"patient {number}")
        write_series(tmp_path / f"p{number}" / "ct", series)
        if number < 2:
            places = [(1, 2), (2, 3), (1, 3)]
            save(segmentation(series, labeled(), places), tmp_path / f"p{number}" / "seg" / "1.dcm")
    found = understand(tmp_path)
    assert found.kind == "DICOM series with DICOM segmentations"
    assert found.classes == ("background", "liver", "tumor")
    assert found.manifest.scans["path"].to_pylist() == ["p0/ct", "p1/ct"]
    assert found.manifest.scans["label_path"].to_pylist() == ["p0/seg/1.dcm", "p1/seg/1.dcm"]
    assert [(item.path, item.reason) for item in found.left_over] == [("p2/ct", "no segmentation refers to it")]
    assert np.array_equal(list(found.mask_values), [0, 1, 2])
