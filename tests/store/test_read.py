import subprocess
import sys
from pathlib import Path

from ingesting import ingest
from scenes import experiment

HEAVY = ("torch", "SimpleITK", "pydicom", "nibabel", "scipy", "PIL", "matplotlib", "ray", "pydantic")
READ = f"""
import sys, time
from pathlib import Path
from voxray.store.read import open_store
store = open_store(Path({{path!r}}))
assert store.read_patches("train", store.rows("train")["slot"].to_numpy()[:2]).shape == (2, 1, 16, 16, 6)
imported = [name for name in {HEAVY} if name in sys.modules]
assert not imported, imported
assert time.process_time() < 2, time.process_time()
"""


def test_reading_a_store_imports_no_decoder_of_scans_and_no_torch(luna: Path, out: Path) -> None:
    store = ingest(experiment(luna, out))
    result = subprocess.run(
        [sys.executable, "-c", READ.format(path=str(store.path))], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
