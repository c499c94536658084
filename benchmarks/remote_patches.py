"""Bytes and requests for nine patches of a chest CT in object storage, by byte ranges against the whole file.

The server is moto's, on loopback, and counts the bytes it sends. Times are not measured, because it copies the whole
file for each range. `ratio` is the bytes of the whole file over those of the ranges.
Usage: python benchmarks/remote_patches.py [--patches 9] [--slices 300]
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from s3_server import KEYS, S3, serve

from voxray.scans.read import fetch_regions, open_scan, read_region
from voxray.storage.paths import AnyPath
from voxray.volume import PatchBox

SIZE = (64, 64, 10)
HEADER = """ObjectType = Image
NDims = 3
DimSize = 512 512 {slices}
ElementSpacing = 0.7 0.7 1.25
ElementType = MET_SHORT
ElementDataFile = scan.raw
"""


def write_scan(folder: Path, slices: int) -> Path:
    """A scan of noise, as large as those of LUNA16."""
    voxels = np.random.default_rng(0).integers(-1000, 1000, (slices, 512, 512), np.int16)
    (folder / "scan.raw").write_bytes(voxels.tobytes())
    (folder / "scan.mhd").write_text(HEADER.format(slices=slices))
    return folder / "scan.mhd"


def cost(s3: S3, scan: AnyPath, boxes: list[PatchBox], by_regions: bool) -> dict[str, int]:
    """Requests and bytes to open a scan and cut boxes."""
    s3.requests.clear()
    volume = open_scan(scan, by_regions=by_regions)
    fetch_regions(volume, boxes)
    patches = [read_region(volume, box, -1000) for box in boxes]
    sent = sum(size for _, _, size in s3.requests)
    return {"requests": len(s3.requests), "sent_bytes": sent, "patch_bytes": sum(patch.nbytes for patch in patches)}


def main() -> None:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patches", type=int, default=9)
    parser.add_argument("--slices", type=int, default=300)
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    spare = np.array([512, 512, options.slices]) - SIZE
    boxes = [PatchBox(tuple(rng.integers(0, spare).tolist()), SIZE) for _ in range(options.patches)]
    with serve() as s3, tempfile.TemporaryDirectory() as folder:
        os.environ.update(KEYS, AWS_ENDPOINT_URL=s3.url)
        file = write_scan(Path(folder), options.slices)
        scan = s3.put_folder(Path(folder)) / file.name
        cost(s3, scan, boxes[:1], True)  # connects
        regions, whole = (cost(s3, scan, boxes, by_regions) for by_regions in (True, False))
    ratio = whole["sent_bytes"] / regions["sent_bytes"]
    summary = {"share": round(1 / ratio, 4), "ratio": round(ratio, 2)}
    print(json.dumps({"benchmark": "remote_patches", "regions": regions, "whole": whole, **summary}))


if __name__ == "__main__":
    main()
