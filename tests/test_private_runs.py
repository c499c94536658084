"""What a run keeps and sends of the people whose scans it was given: grepped out of every file it wrote."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from dicom_scenes import slices, stored_voxels, write_series
from offline_wandb import all_records
from pydicom.datadict import dictionary_VR, keyword_dict
from pydicom.dataset import Dataset
from scenes import experiment

from voxray.config.experiment import Experiment
from voxray.datasets.pseudonyms import reveal
from voxray.errors import ConfigError, DataError, StoreError
from voxray.executors.local import LocalExecutor
from voxray.phantom.decathlon import write_decathlon
from voxray.privacy import pseudonym
from voxray.stages.evaluate import evaluate
from voxray.stages.ingest import ingest
from voxray.stages.report import report
from voxray.stages.train import train
from voxray.store.matching import open_matching_store
from voxray.store.read import open_store

KEY = "a-key-of-more-than-sixteen-bytes"
SECRETS = {"PN": "Doe^Johanna", "DA": "19470623", "TM": "101112.131415", "DT": "19470623101112", "AS": "077Y"}
TEXTS = ("LO", "SH", "ST", "LT", "UT", "UC")
# What the reader needs: geometry, intensity, and what kind of image it is.
NEEDED = ("ImageType", "PhotometricInterpretation", "Modality", "SeriesInstanceUID", "StudyInstanceUID")


def quiet(line: str) -> None:
    """Swallow what a stage says."""


def with_secrets(dataset: Dataset, patient: str) -> Dataset:
    """The same slice with something to recognize in every text, name and date that DICOM knows."""
    for keyword in random.Random(0).sample(sorted(keyword_dict), 600):
        kind = dictionary_VR(keyword)
        if keyword not in NEEDED and keyword not in dataset and (kind in SECRETS or kind in TEXTS):
            setattr(dataset, keyword, SECRETS.get(kind, "Sesame-9317"))
    dataset.PatientName, dataset.PatientBirthDate, dataset.PatientID = "Doe^Johanna", "19470623", patient
    dataset.StudyDate, dataset.AccessionNumber, dataset.InstitutionName = "19470623", "ACC-9317", "Sesame-9317 Hospital"
    dataset.StudyDescription, dataset.SeriesDescription = "Sesame-9317 thorax", "Sesame-9317 lung"
    dataset.ImageType = [*dataset.ImageType, "SESAME-9317"]
    dataset.private_block(0x11, "Sesame-9317", create=True).add_new(1, "LO", "Sesame-9317 private")
    return dataset


def written(*folders: Path) -> dict[str, bytes]:
    """Every file below these folders, by its path, which counts too."""
    files = [file for folder in folders for file in sorted(folder.rglob("*")) if file.is_file()]
    for log in (file for file in files if file.suffix == ".wandb"):
        all_records(log)  # waits until it is whole
    return {str(file): str(file).encode() + file.read_bytes() for file in files}


def check_absent(files: dict[str, bytes], *words: str) -> None:
    for name, content in files.items():
        found = [word for word in words if word.encode() in content or word.encode("utf-16-le") in content]
        assert not found, (name, found)


def dicom_run(root: Path, out: Path, folder: Callable[[int], str], **changes: object) -> Experiment:
    for number in range(8):
        every = slices(stored_voxels(number))
        series = [with_secrets(each, f"ID-9317-{number // 2}") for each in every]
        if number == 5:
            del series[3]
        if number == 7:
            series[2].ImageOrientationPatient = [0, 1, 0, 1, 0, 0]
        write_series(root / folder(number), series, "Jane_Roe_{}.dcm")
    cut = next((root / folder(6)).iterdir())
    cut.write_bytes(cut.read_bytes()[:-50])
    lines = [f"{folder(number)},{'ill' if number % 2 else 'well'}" for number in range(8)]
    (root / "labels.csv").write_text("\n".join(["folder,label,split", *_with_splits(lines)]) + "\n")
    return experiment(
        root,
        out,
        **{
            "data": {"layout": "dicom", "root": str(root)},
            "patches": {"size": [8, 8, 6], "negatives_per_positive": "all", "oversample_rotations": []},
            "store": {"max_quarantined": 0.6},
            "training": {"epochs": 1, "batch_size": 2},
            "tracking": {"mode": "offline"},
            **changes,
        },
    )


def _with_splits(lines: list[str]) -> list[str]:
    splits = ["train", "train", "val", "val", "train", "train", "test", "test"]
    return [f"{line},{split}" for line, split in zip(lines, splits, strict=True)]


def run_all(spec: Experiment) -> None:
    ingest(spec, LocalExecutor(), quiet)
    train(spec, LocalExecutor(), quiet)
    evaluate(spec, LocalExecutor(), quiet)
    report(spec, quiet)


def test_nothing_of_a_dicom_header_is_kept_or_sent(tmp_path: Path, out: Path) -> None:
    spec = dicom_run(tmp_path / "data", out, lambda number: f"case{number}")
    run_all(spec)
    files = written(out)
    assert any(name.endswith(".wandb") for name in files)
    assert all(b"Sesame-9317" in path.read_bytes() for path in (tmp_path / "data").rglob("*.dcm"))
    assert open_store(spec.store_path).quarantine.num_rows == 3
    check_absent(files, "Sesame", "SESAME", "-9317", "Doe", "Johanna", "19470623", "077Y", "101112")


def test_under_a_key_no_name_of_a_patient_scan_or_file_is_kept_or_sent(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    spec = dicom_run(
        tmp_path / "data", out, lambda number: f"Richard_Miles_{number}/CT", privacy={"key_env": "SOME_KEY"}
    )
    run_all(spec)
    files = written(out)
    check_absent(files, "Richard", "Miles", "Jane", "Roe", "-9317", "Doe", KEY)
    store = open_store(spec.store_path)
    rows = store.index.to_pylist()
    assert {row["patient_id"] for row in rows} <= {
        pseudonym(KEY.encode(), "patient", f"ID-9317-{number}") for number in range(4)
    }
    scans = {pseudonym(KEY.encode(), "scan", f"Richard_Miles_{number}/CT"): number for number in range(8)}
    reasons = {scans[row["scan_id"]]: row["reason"] for row in store.quarantine.to_pylist()}
    assert "lacks 1 slice, after" in reasons[5]
    assert "is cut off" in reasons[6]
    assert "face different directions" in reasons[7]
    assert reveal(spec, rows[0]["scan_id"]) == f"scan Richard_Miles_{scans[rows[0]['scan_id']]}/CT"
    assert reveal(spec, rows[0]["patient_id"]).startswith("patient ID-9317-")
    monkeypatch.setenv("SOME_KEY", KEY + "x")
    with pytest.raises(DataError, match="no patient or scan has the pseudonym"):
        reveal(spec, rows[0]["scan_id"])


@pytest.mark.parametrize("with_key", [False, True])
def test_no_path_user_host_or_commit_is_sent(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch, with_key: bool
) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    monkeypatch.setenv("USER", "jane_user")
    monkeypatch.setenv("HOSTNAME", "jane_host")
    monkeypatch.setattr("socket.gethostname", lambda: "jane_host")
    monkeypatch.setenv("HOME", str(tmp_path / "jane_home"))
    root = tmp_path / "jane_cohort"
    spec = dicom_run(
        root, out, lambda number: f"case{number}", **({"privacy": {"key_env": "SOME_KEY"}} if with_key else {})
    )
    run_all(spec)
    logs = {name: file for name, file in written(out).items() if name.endswith(".wandb")}
    assert len(logs) == 2
    for file in logs:
        content = Path(file).read_bytes()
        secrets = [str(tmp_path), str(Path.cwd()), "jane", "architecture.json", "labels.csv", "commit", "case0"]
        assert [word for word in secrets if word.encode() in content] == []
    assert not (tmp_path / "jane_home").exists()
    if with_key:
        check_absent({"report": (out / "report.html").read_bytes()}, "jane", str(tmp_path), tmp_path.name)


def test_a_private_store_is_gone_on_with_under_the_same_key_only(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    spec = dicom_run(tmp_path / "data", out, lambda number: f"Miles_{number}", privacy={"key_env": "SOME_KEY"})
    strict = spec.model_copy(update={"store": spec.store.model_copy(update={"max_quarantined": 0.0})})
    with pytest.raises(DataError, match="3 of 8 scans cannot be used") as caught:
        ingest(strict, LocalExecutor(), quiet)
    assert "Miles" not in str(caught.value)
    ingest(spec, LocalExecutor(), quiet)
    assert len(set(open_store(spec.store_path).index["scan_id"].to_pylist())) == 5
    assert KEY not in str(open_store(spec.store_path).info.provenance)
    monkeypatch.setenv("SOME_KEY", KEY + "x")
    for stage in (ingest, train, evaluate):
        with pytest.raises(StoreError, match=r"settings: privacy: the key differs from that of the store\. Give"):
            stage(spec, LocalExecutor(), quiet)
    monkeypatch.delenv("SOME_KEY")
    with pytest.raises(ConfigError, match="key_env = 'SOME_KEY'"):
        ingest(spec, LocalExecutor(), quiet)
    assert open_matching_store(spec).info.private  # a training needs no key


def test_whole_scans_are_evaluated_and_shown_under_pseudonyms(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    write_decathlon(tmp_path / "data", cases=6, seed=1, shape=(24, 24, 24))
    (out.parent / "architecture.json").write_text(
        '{"type": "unet", "dimensions": 3, "down": [[4], [8]], "up": [[4]], "output": {"activation": "softmax"}}'
    )
    spec = experiment(
        tmp_path / "data",
        out,
        data={"layout": "decathlon"},
        patches={"size": [16, 16, 8], "sampling": "foreground", "oversample_rotations": [], "pad_value": 0},
        store={"dtype": "float32", "chunk_bytes": 2**18, "shard_bytes": 2**20},
        training={"loss": "dice_cross_entropy", "monitor": "dice", "batch_size": 2, "epochs": 1},
        tracking={"mode": "offline"},
        privacy={"key_env": "SOME_KEY"},
    )
    run_all(spec)
    check_absent(written(out), "BRATS_0", KEY)
    assert "its files have changed" not in (out / "report.html").read_text()
