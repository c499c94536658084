"""Report: from an evaluated run to an HTML file."""

from dataclasses import replace

from voxray.config.experiment import Experiment
from voxray.errors import NotReadyError, VoxrayError
from voxray.reporting.run.contents import RunContents, read_run
from voxray.runs.folder import RunFolder, run_folder
from voxray.runs.keys import evaluate_key
from voxray.runs.status import heartbeat
from voxray.stages.common import OnStatus, is_finished
from voxray.stages.scan_check import check_read_again, scans_on_disk
from voxray.stages.train import need_training
from voxray.storage.paths import AnyPath
from voxray.store.compare import cut_here
from voxray.store.matching import open_matching_store
from voxray.store.read import PatchStore


def report(experiment: Experiment, on_status: OnStatus) -> AnyPath:
    """Write the report of an evaluated run; returns its path.

    Raises
    ------
    NotReadyError
        The experiment has not been evaluated.
    StoreError
        Its store was made with other settings, or from another data set.
    """
    folder = run_folder(experiment)
    _need_evaluation(experiment, folder)
    from voxray.reporting.run.cases import choose_cases
    from voxray.reporting.run.page import write_report

    # Again under the lock: another process may have trained meanwhile. Without a lock the error names the report.
    with folder.locked(must_write=False), heartbeat(folder, "report", "pages") as on_progress:
        store = _need_evaluation(experiment, folder)
        contents = read_run(folder.path, store)
        displayed = [case for split in contents.cases.values() for _, case in choose_cases(split)]
        # A scan that is lost is a note on the page; one that changed would be displayed with another's contours.
        check_read_again(experiment, store, scans_on_disk(experiment, displayed), cut_here, on_status)
        write_report(folder.report, _without_changed_scan(contents, on_status))
        on_progress(1, 1, "")
    on_status(f"report: {folder.report}")
    return folder.report


def _without_changed_scan(contents: RunContents, on_status: OnStatus) -> RunContents:
    """The contents of a classifier's run with a note where scans that the page displays are no longer the same."""
    from voxray.reporting.run.scan_views import displayed_scan
    from voxray.reporting.run.whole_scans import displayed_scans

    row = displayed_scan(contents)
    try:
        displayed = scans_on_disk(contents.experiment, [*([row] if row else []), *displayed_scans(contents)])
        check_read_again(contents.experiment, contents.store, displayed, cut_here, on_status)
    except VoxrayError:
        return replace(contents, scan_problem="the scans are not those that the store was made from")
    return contents


def _need_evaluation(experiment: Experiment, folder: RunFolder) -> PatchStore:
    """The store of the finished evaluation; NotReadyError where it is not finished."""
    store = open_matching_store(experiment)
    key = evaluate_key(experiment, need_training(experiment, folder, store))
    if not is_finished(folder, "evaluate", key):
        problem = folder.damage("evaluate") or "no finished evaluation of this experiment"
        raise NotReadyError(str(folder.path), problem, "Run voxray evaluate first")
    return store
