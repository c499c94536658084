"""A run, a store or a plan of a stranger does not choose which files of this machine are read."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ingesting import begin
from scenes import experiment

from voxray.datasets.pseudonyms import files_of
from voxray.errors import StoreError
from voxray.patches.plan import PLAN
from voxray.runs.folder import RunFolder
from voxray.runs.read import read_predictions
from voxray.runs.records import read_records
from voxray.store.layout import PARTS_FOLDER, PLAN_FILE
from voxray.store.metadata import read_info
from voxray.store.parts import read_planned

OUTSIDE = ["../../secret/x.nii.gz", "/etc/passwd", "s3://bucket/x.nii.gz", "{../a,b}.nii"]


@pytest.mark.parametrize("outside", OUTSIDE)
@pytest.mark.parametrize("column", ["prediction", "path", "label_path"])
def test_predictions_name_no_file_outside_of_their_folder(tmp_path: Path, column: str, outside: str) -> None:
    folder = RunFolder(tmp_path)
    file = folder.predictions("val")
    file.parent.mkdir()
    row = {"scan_id": "a", "path": "a.nii", "label_path": "b.nii", "prediction": "predictions/val/a_seg.nii.gz"}
    pq.write_table(pa.Table.from_pylist([row, row | {"label_path": None}]), file)
    assert read_predictions(folder, "val").num_rows == 2
    pq.write_table(pa.Table.from_pylist([row, row | {column: outside}]), file)
    with pytest.raises(StoreError, match=rf"val\.parquet: column '{column}': expected a path inside") as error:
        read_predictions(folder, "val")
    assert outside in str(error.value)


@pytest.mark.parametrize("outside", OUTSIDE)
def test_the_record_of_a_stage_names_no_file_outside_of_the_run(tmp_path: Path, outside: str) -> None:
    record = {"key": "k", "seconds": 1.0, "files": {"metrics.json": "", outside: "1 xxh3 0"}}
    (tmp_path / "stages.json").write_text(json.dumps({"evaluate": record}))
    with pytest.raises(StoreError, match=r"stages\.json: evaluate: expected files inside the run's folder") as error:
        read_records(tmp_path / "stages.json")
    assert outside in str(error.value)


@pytest.mark.parametrize("outside", OUTSIDE)
@pytest.mark.parametrize("column", ["path", "label_path"])
def test_an_index_names_no_scan_outside_of_the_data_set(luna: Path, out: Path, column: str, outside: str) -> None:
    spec = experiment(luna, out)
    row = {"scan_id": "a", "path": "a.nii", "label_path": None}
    assert files_of(spec, [row]) == [(spec.data_path / "a.nii", None)]
    with pytest.raises(StoreError, match=r"its index names a scan outside of data\.root") as error:
        files_of(spec, [row | {column: outside}])
    assert str(spec.store_path) in str(error.value)


@pytest.mark.parametrize("outside", OUTSIDE)
def test_a_plan_names_no_scan_outside_of_the_data_set(luna: Path, out: Path, outside: str) -> None:
    spec = experiment(luna, out)
    key = begin(spec)[0]
    info, file = read_info(spec.store_path), spec.store_path / PARTS_FOLDER / PLAN_FILE
    assert info is not None
    table = pq.read_table(file)
    paths = pa.array([outside] * table.num_rows, PLAN.field("path").type)
    pq.write_table(table.set_column(table.column_names.index("path"), PLAN.field("path"), paths), file)
    with pytest.raises(StoreError, match=r"plan\.parquet: names a scan outside of data\.root"):
        read_planned(spec.store_path, info, key)
