"""The files of a whole experiment, from the lists of names in the program."""

import re

from voxray.runs.folder import InspectionFolder, PredictionFolder, RunFolder, SearchFolder
from voxray.store import layout

# Those of `voxray.store.layout.STORE_FILES`, of which a test makes sure.
STORE = (
    "zarr.json",
    "*/zarr.json",
    *(f"*/{array}/zarr.json" for array in (layout.IMAGES, layout.MASKS)),
    *(f"*/{array}/c/**" for array in (layout.IMAGES, layout.MASKS)),
    layout.INDEX_FILE,
    layout.QUARANTINE_FILE,
    layout.SOURCES_FILE,
    f"{layout.PARTS_FOLDER}/{layout.PLAN_FILE}",
    f"{layout.PARTS_FOLDER}/{layout.QUARANTINE_FILE}",
    f"{layout.PARTS_FOLDER}/*-*.parquet",
)
SHARDS = ("store:*/image/c/**", "store:*/label/c/**")
ROWS = (f"store:{layout.INDEX_FILE}", f"store:{layout.PARTS_FOLDER}/*-*.parquet")
# The lists with the folders in a scene that have such files; the first one that matches counts.
LISTS = {
    "store": (STORE, ("store", "store/fold_*")),
    "search": (SearchFolder.patterns(), ("search",)),
    "inspection": (InspectionFolder.patterns(), ("inspection",)),
    "run": (
        tuple(name for name in RunFolder.patterns() if not name.startswith("predictions/*/")),
        ("run", "run/fold_*", "search/trials/*", "answers", "inspection", "search"),
    ),
    "predictions": (PredictionFolder.patterns(), ("answers", "run/predictions/*")),
}
# Names that stages of the matrix do not write, and why.
ELSEWHERE = {
    "search:dry_run.png": "a picture that `tune --dry-run` draws again at each call",
    "search:best/trained_run/*.*": "a run of its own, made by the command that `tune` prints",
    "search:ray_tune/**/*.*": "removed when a search starts and when it ends",
    "run:traceback.txt": "of an exception that nobody foresaw",
    "predictions:*_findings.json": "of candidates in whole scans, which tests/prediction finds",
    "predictions:*_findings.csv": "see *_findings.json",
    "predictions:*_findings.html": "see *_findings.json",
    "predictions:*.png": "see *_findings.json",
    "run:near_duplicates.json": "of `ingest --verify`; a report says that nothing was compared where it cannot be read",
    "run:predictions/*_findings.parquet": "of annotated nodules, see tests/evaluation/test_whole_scans",
    "run:predictions/*_nodules.parquet": "see *_findings.parquet",
    "run:predictions/*_findings_froc.parquet": "see *_findings.parquet",
    "run:predictions/*_froc.parquet": "see *_findings.parquet",
    "run:pseudonyms.key": "tested on its own: only pictures on W&B need it",
}

# A search goes by the record of a trial, trial.json: the files of its network stay as they are, and those that load
# them check them. The file of another search is refused, and the remedy is to choose another folder.
TRIAL_FILES = re.compile(r"search/trials/\d+/(?!trial\.json)")
# Without its picture, a class that cannot be read may be a file of the user's: it is refused as well.
LONE_CLASS = re.compile(r"answers/[^/]+\.json")
SEARCH_RECORDS = re.compile(r"search/(search|trials/\d+/trial)\.json")


def all_entries() -> set[str]:
    """All names of the lists, as ``list:pattern``."""
    return {f"{kind}:{pattern}" for kind, (patterns, _) in LISTS.items() for pattern in patterns}


def entry_of(file: str) -> str:
    """The name in the lists, of a file relative to the folder of a scene.

    Raises
    ------
    KeyError
        It is in no list.
    """
    for kind, (patterns, folders) in LISTS.items():
        for pattern in patterns:
            if any(_matches(f"{folder}/{pattern}", file) for folder in folders):
                return f"{kind}:{pattern}"
    raise KeyError(file)


def _matches(pattern: str, file: str) -> bool:
    text = re.escape(pattern).replace(r"\*\*", ".+").replace(r"\*", "[^/]*")
    return re.fullmatch(text, file) is not None
