"""One rank of a training, a process of its own: rank, ranks, rendezvous file, experiment, folder for results."""

import gc
import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from voxray.config.experiment import Experiment
from voxray.loader.loader import PatchLoader
from voxray.store.read import open_store
from voxray.training.fit import load_network, make_preprocessing
from voxray.training.loop import train
from voxray.training.tasks import build_task

STREAMS = 2


def main(rank: int, ranks: int, rendezvous: Path, spec_file: Path, out: Path) -> None:
    """Train with streams of their own, so that one process and two see the same global batches."""
    torch.set_num_threads(1)
    if ranks > 1:
        dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=ranks)
    spec = Experiment.model_validate_json(spec_file.read_text())
    store, device = open_store(spec.store_path), torch.device("cpu")
    network = load_network(Path(spec.model.architecture), store.info.patch_shape, 2)
    model = network.build(2, spec.seed)
    shares = {"rank": rank, "ranks": ranks, "streams": STREAMS}
    loaders = [
        PatchLoader(store, split, spec.training.batch_size, **shares, seed=spec.seed, buffer_bytes=1)
        for split in ("train", "val")
    ]
    empty = sum(not len(batch.rows) for epoch in range(spec.training.epochs) for batch in loaders[0].epoch(epoch))
    task = build_task(spec, store, network.layers, device)
    progress = train(
        model,
        loaders[0],
        loaders[1],
        spec.training,
        make_preprocessing(spec, network.spatial_dims, device),
        task,
        out / str(ranks),
        key="k",
    )
    weights = torch.cat([value.flatten() for value in model.state_dict().values()]).tolist()
    losses = [
        [row[name] for name in ("train_loss", "train_accuracy", "val_loss", "val_roc_auc")] for row in progress.history
    ]
    content = {"weights": weights, "losses": losses, "empty": empty}
    (out / f"{ranks}-{rank}.json").write_text(json.dumps(content))
    if ranks > 1:
        # The wrapper around the model is a reference cycle that holds the process group, whose threads must not
        # outlive the interpreter: one that releases a tensor then aborts the process.
        gc.collect()
        dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *(Path(each) for each in sys.argv[3:]))
