"""Real DICOM files: series of slices and multi-frame objects, whole and spoiled."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

CT, ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1"
SEGMENTATION, LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SPACING = (0.8, 0.5)  # between rows, between columns
STEP_MM = 2.5
ORIGIN = (-30.0, -20.0, 100.0)


def stored_voxels(seed: int = 0, shape: Sequence[int] = (7, 10, 12)) -> NDArray[np.uint16]:
    """Stored numbers of 12 bits, (slice, row, column)."""
    return np.random.default_rng(seed).integers(0, 4096, shape, dtype=np.uint16)


def positions(count: int, orientation: Sequence[float] = AXIAL, step_mm: float = STEP_MM) -> NDArray[np.float64]:
    """Evenly stacked along the normal, (slice, 3)."""
    normal = np.cross(orientation[:3], orientation[3:])
    return np.array(ORIGIN) + step_mm * np.arange(count)[:, None] * normal


def image(stored: NDArray[Any], kind: str = CT, **changes: Any) -> Dataset:
    """A file's dataset with pixels, without a place; `changes` set or, if None, remove elements."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = UID(kind), generate_uid()
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID = generate_uid(), generate_uid()
    dataset.Modality, dataset.PatientID, dataset.ImageType = "CT", "patient", ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    if stored.ndim == 3:
        dataset.NumberOfFrames = len(stored)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    dataset.PixelData = stored.tobytes()
    dataset["PixelData"].VR = "OW"
    return changed(dataset, changes)


def changed(dataset: Dataset, changes: dict[str, Any]) -> Dataset:
    for key, value in changes.items():
        if value is None:
            dataset.pop(key, None)
        else:
            setattr(dataset, key, value)
    return dataset


def save(dataset: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path


def slices(stored: NDArray[Any] | None = None, orientation: Sequence[float] = AXIAL, **changes: Any) -> list[Dataset]:
    """The datasets of a CT series, from its first position to its last."""
    voxels = stored_voxels() if stored is None else stored
    series = {"SeriesInstanceUID": generate_uid(), "StudyInstanceUID": generate_uid()}
    found = []
    for number, (plane, position) in enumerate(zip(voxels, positions(len(voxels), orientation), strict=True), 1):
        place = {
            "ImagePositionPatient": [f"{each:.10g}" for each in position],
            "ImageOrientationPatient": [f"{each:.10g}" for each in orientation],
            "PixelSpacing": list(SPACING),
            "SliceThickness": 3.0,
            "InstanceNumber": number,
            "RescaleSlope": 1,
            "RescaleIntercept": -1024,
        }
        found.append(image(plane, **{**series, **place, **changes}))
    return found


def write_series(folder: Path, datasets: Sequence[Dataset], name: str = "IM{:04d}.dcm", seed: int = 0) -> list[Path]:
    """Write datasets under names whose order says nothing of their places; the paths in the order of `datasets`."""
    numbers = np.random.default_rng(seed).permutation(len(datasets))
    return [save(each, folder / name.format(number)) for each, number in zip(datasets, numbers.tolist(), strict=True)]


def enhanced(stored: NDArray[Any], orientation: Sequence[float] = AXIAL, slopes: Sequence[float] = ()) -> Dataset:
    """A multi-frame CT whose frames come in a shuffled order, with `slopes` of their own where there are any."""

    def macro(name: str, **values: Any) -> Dataset:
        groups, inner = Dataset(), changed(Dataset(), values)
        setattr(groups, name, [inner])
        return groups

    order = np.random.default_rng(1).permutation(len(stored)).tolist()
    dataset = image(np.ascontiguousarray(stored[order]), ENHANCED_CT)
    places = positions(len(stored), orientation)
    frames = [macro("PlanePositionSequence", ImagePositionPatient=places[each].tolist()) for each in order]
    shared = macro("PixelMeasuresSequence", PixelSpacing=list(SPACING), SliceThickness=3.0)
    shared.update(macro("PlaneOrientationSequence", ImageOrientationPatient=list(orientation)))
    for frame, each in zip(frames, order, strict=True) if slopes else ():
        values = {"RescaleSlope": slopes[each], "RescaleIntercept": -5}
        frame.update(macro("PixelValueTransformationSequence", **values))
    if not slopes:
        shared.update(macro("PixelValueTransformationSequence", RescaleSlope=1, RescaleIntercept=-1024))
    dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence = [shared], frames
    return dataset


def expected_affine(orientation: Sequence[float] = AXIAL, step_mm: float = STEP_MM) -> NDArray[np.float64]:
    """Index (column, row, slice) to RAS by the formula of PS3.3 C.7.6.2.1.1, written out."""
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * SPACING[1], column * SPACING[0]
    affine[:3, 2], affine[:3, 3] = np.cross(row, column) * step_mm, ORIGIN
    affine[:2] *= -1
    return affine


def item(**values: Any) -> Dataset:
    found = Dataset()
    for name, value in values.items():
        setattr(found, name, value)
    return found


def segmentation(
    series: list[Dataset], frames: NDArray[np.uint8], places: list[tuple[int, int]], *, by_source: bool = False
) -> Dataset:
    """Frames (frame, row, column), each of a segment on a slice; as a label map where the segment is 0."""
    kind = LABEL_MAP if places[0][0] == 0 else SEGMENTATION
    dataset = image(frames.astype(np.uint16), kind, Modality="SEG", SeriesInstanceUID=generate_uid())
    dataset.BitsStored = dataset.BitsAllocated = 8 if kind == LABEL_MAP else 1
    dataset.HighBit = dataset.BitsStored - 1
    packed = frames if kind == LABEL_MAP else np.packbits(frames.ravel() != 0, bitorder="little")
    content = packed.tobytes()
    dataset.PixelData = content + b"\0" * (len(content) % 2)
    dataset["PixelData"].VR = "OB"
    dataset.SegmentationType = "LABELMAP" if kind == LABEL_MAP else "BINARY"
    dataset.SegmentSequence = [item(SegmentNumber=1, SegmentLabel="liver"), item(SegmentNumber=2, SegmentLabel="tumor")]
    dataset.ReferencedSeriesSequence = [item(SeriesInstanceUID=series[0].SeriesInstanceUID)]
    dataset.PatientID = series[0].PatientID
    dataset.SharedFunctionalGroupsSequence = [
        item(PlaneOrientationSequence=[item(ImageOrientationPatient=list(AXIAL))])
    ]
    groups = []
    for segment, index in places:
        group = item(SegmentIdentificationSequence=[item(ReferencedSegmentNumber=segment)])
        if by_source:
            source = item(ReferencedSOPInstanceUID=series[index].SOPInstanceUID)
            group.DerivationImageSequence = [item(SourceImageSequence=[source])]
        else:
            place = series[index].ImagePositionPatient
            group.PlanePositionSequence = [item(ImagePositionPatient=list(place))]
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = groups
    return dataset


def labeled(shape: tuple[int, ...] = (3, 10, 12)) -> NDArray[np.uint8]:
    return (np.random.default_rng(3).random(shape) < 0.4).astype(np.uint8)
