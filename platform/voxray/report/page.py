from voxray.runs.folder import RunFolder
from voxray.store.read import PatchStore


def write_report(folder: RunFolder, store: PatchStore) -> None:
    folder.report.write_text("soon")
