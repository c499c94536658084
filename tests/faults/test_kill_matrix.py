"""Whatever happens to any file at any moment, the same command ends with the results of an undisturbed one."""

import random
import re
from pathlib import Path

import pytest
from faults.matrix import Case, Lab
from faults.names import ELSEWHERE, all_entries, entry_of
from faults.results import files_of
from faults.scenes import STAGES

from voxray.runs.folder import RunFolder
from voxray.store.layout import STORE_FILES

SAMPLE = 2  # cases of each stage in the short version

# What went wrong in the past, each once.
PAST = [
    "ingest:before:store/parts/plan.parquet:1",
    "ingest:within:store/parts/plan.parquet:1",
    "ingest:full:store/parts/plan.parquet:1",
    "ingest:before:store/zarr.json:1",
    "ingest:after:store/index.parquet:1",
    "ingest:empty:store/parts/plan.parquet:unfinished",
    "ingest:empty:store/parts/quarantine.parquet:unfinished",
    "ingest:truncated:store/parts/test-000000.parquet:unfinished",
    "ingest:absent:store/test/image/c/0/0/0/0/0:unfinished",
    "ingest:garbage:store/test/image/c/0/0/0/0/0:unfinished",
    "ingest:garbage:store/test/image/c/0/0/0/0/0:finished",
    "ingest:other:store/test/image/c/0/0/0/0/0:finished",
    "ingest:empty:store/zarr.json:finished",
    "ingest:truncated:store/test/image/zarr.json:finished",
    "ingest:other:store/index.parquet:finished",
    "ingest:absent:store/quarantine.parquet:finished",
    "train:empty:run/stages.json:finished",
    "train:garbage:run/status.json:finished",
    "train:empty:run/checkpoints/last.safetensors:unfinished",
    "train:absent:run/architecture.json:finished",
    "train:truncated:run/history.parquet:finished",
    "evaluate:within:run/metrics.json:1",
    "evaluate:absent:run/metrics.json:finished",
    "evaluate:empty:run/metrics.json:finished",
    "evaluate:other:run/metrics.json:finished",
    "evaluate:absent:run/predictions/val.parquet:finished",
    "report:absent:run/experiment.json:finished",
    "report:absent:run/history.parquet:finished",
    "tune:truncated:search/trials/0000/trial.json:finished",
    "tune:empty:search/search.json:finished",
]


@pytest.mark.parametrize("name", STAGES)
def test_every_file_that_a_stage_leaves_is_in_the_lists_of_names(lab: Lab, name: str) -> None:
    folder, ended = lab.after(name)
    for file in {*files_of(folder), *ended.writes}:
        kind = entry_of(file).partition(":")[0]
        assert kind != "store" or STORE_FILES.fullmatch(re.sub(r"^store/(fold_\d/)?", "", file)), file


def test_every_name_of_the_lists_is_in_the_matrix(lab: Lab) -> None:
    entries = {case.entry for name in STAGES for case in lab.cases(name)}
    assert entries | ELSEWHERE.keys() == all_entries()
    assert not entries & ELSEWHERE.keys()


def test_what_went_wrong_in_the_past_does_not_again(lab: Lab) -> None:
    assert lab.problems([Case.parse(text) for text in PAST]) == {}


def test_a_sample_of_all_faults_ends_in_the_results_of_an_undisturbed_command(lab: Lab) -> None:
    chosen = random.Random(0)
    cases = [case for name in STAGES for case in chosen.sample(lab.cases(name), SAMPLE)]
    assert lab.problems(cases) == {}


@pytest.mark.faults
@pytest.mark.parametrize("name", STAGES)
def test_all_faults_end_in_the_results_of_an_undisturbed_command(lab: Lab, name: str) -> None:
    assert lab.problems(lab.cases(name)) == {}


@pytest.mark.parametrize("content", [b"", b"short"])
def test_a_key_of_pseudonyms_that_was_lost_is_drawn_again(tmp_path: Path, content: bytes) -> None:
    folder = RunFolder(tmp_path)
    key = folder.pseudonym_key()
    assert folder.pseudonym_key() == key
    folder.pseudonyms.write_bytes(content)
    assert len(folder.pseudonym_key()) == len(key)
    assert folder.pseudonym_key() != content
