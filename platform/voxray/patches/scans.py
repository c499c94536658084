"""The scans of each split, with those of which no sample is kept. Pure: no disk."""

import pyarrow as pa
import pyarrow.compute as pc

from voxray.config.experiment import Experiment
from voxray.datasets.manifest import SCANS, Manifest
from voxray.patches.plan import sample_splits, samples_with_scans


def split_scans(manifest: Manifest, experiment: Experiment) -> pa.Table:
    """All scans whose split is known, each once; schema SCANS.

    A scan without a sample is in a split only where the tested subset holds it.
    """
    samples = samples_with_scans(manifest)
    names = samples["scan_id"].cast(pa.string())
    splits = pa.table({"scan_id": names, "given": pa.array(sample_splits(samples, manifest, experiment).astype(str))})
    known = splits.group_by(["scan_id", "given"]).aggregate([])
    position = pc.index_in(manifest.scans["scan_id"], value_set=known["scan_id"].combine_chunks())
    column = known["given"].combine_chunks().take(position.combine_chunks())
    if experiment.split.by_subset:
        tested = pc.starts_with(manifest.scans["path"], f"subset{experiment.split.fold}/")
        column = pc.if_else(pc.and_(pc.is_null(column), tested.combine_chunks()), "test", column)
    scans = manifest.scans.set_column(SCANS.get_field_index("split"), "split", column.cast(pa.string()))
    return scans.filter(pc.is_valid(scans["split"])).sort_by("scan_id")
