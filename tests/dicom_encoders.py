"""DICOM files in every transfer syntax that GDCM can write."""

from pathlib import Path

import gdcm
from dicom_scenes import save
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID

PLAIN = ("ImplicitVRLittleEndian", "ExplicitVRLittleEndian", "ExplicitVRBigEndian", "DeflatedExplicitVRLittleEndian")
LOSSLESS = (
    "RLELossless",
    "JPEGLosslessProcess14",
    "JPEGLosslessProcess14_1",
    "JPEGLSLossless",
    "JPEGLSNearLossless",  # GDCM's near-lossless streams lose nothing
    "JPEG2000Lossless",
)
LOSSY = ("JPEG2000", "JPEGBaselineProcess1", "JPEGExtendedProcess2_4")
SYNTAXES = (*PLAIN, *LOSSLESS, *LOSSY)


def encode(dataset: Dataset, path: Path, syntax: str) -> Dataset:
    """Write a dataset with plain pixels in another transfer syntax, by its name in GDCM; returns what was written."""
    plain = save(dataset, path.with_name(f"{path.name}.plain"))
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(plain))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change(), syntax
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    plain.unlink()
    written = dcmread(path)
    assert isinstance(written.file_meta.TransferSyntaxUID, UID)
    return written
