"""Commands that describe architectures and the formats of files."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from voxray.cli.terminal import OUT, echo


class SchemaKind(StrEnum):
    """Files that have a schema."""

    ARCHITECTURE = "architecture"
    SPACE = "space"
    EXPERIMENT = "experiment"


def describe(
    architecture: Annotated[Path, typer.Argument(help="JSON file.", show_default=False)],
    input_: Annotated[str, typer.Option("--input", help="Channels and voxels, such as 1x64x64x10.")],
    classes: Annotated[int, typer.Option("--classes", min=2, help="Classes, with the background if any.")] = 2,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Batch size, for the memory of training.")] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the layers of an architecture with shapes and parameters, and its cost in operations and memory.

    Example: voxray describe configs/architectures/arch3d.json --input 1x64x64x10
    """
    from rich.table import Table
    from rich.text import Text

    from voxray.config.training import TrainingSpec
    from voxray.console.units import bytes_text, count_text
    from voxray.models.cost.estimate import estimate_cost
    from voxray.models.shapes import infer_shapes, parse_input
    from voxray.models.spec.load import load_architecture

    shape, spec = parse_input(input_), load_architecture(architecture)
    layers = infer_shapes(spec, shape, classes, str(architecture))
    training = TrainingSpec(batch_size=batch)
    on_cpu, on_gpu = (
        estimate_cost(spec, shape, classes, training, str(architecture), gpu=gpu) for gpu in (False, True)
    )
    total = on_cpu.parameters
    if as_json:
        content = {
            "parameters": total,
            "forward_flops": on_cpu.forward_flops,
            "training_flops": on_cpu.training_flops,
            "memory_bytes": {"batch": batch, "cpu": on_cpu.peak_bytes, "gpu": on_gpu.peak_bytes},
            "input": shape,
            "layers": [vars(layer) for layer in layers],
        }
        _print_json(content)
        return
    table = Table("layer", "type", "", "output", "parameters", title=str(architecture))
    for layer in layers:
        # As text, because rich interprets brackets as markup.
        output = "x".join(map(str, layer.output))
        table.add_row(Text(layer.key_path), layer.type, layer.detail, output, f"{layer.parameters:,}")
    OUT.print(table)
    echo(f"{len(layers)} layers, {total:,} trainable parameters, {bytes_text(4 * total)} as float32")
    forward, training_flops = count_text(on_cpu.forward_flops), count_text(on_cpu.training_flops)
    echo(f"a patch: {forward}FLOP to predict, {training_flops}FLOP to train")
    memory = f"{bytes_text(on_cpu.peak_bytes)} on a CPU, {bytes_text(on_gpu.peak_bytes)} on a GPU in bfloat16"
    echo(f"training with Adam, batches of {batch}: at most {memory}")


def schema(
    kind: Annotated[SchemaKind, typer.Argument(help="The files that it describes.")] = SchemaKind.ARCHITECTURE,
) -> None:
    """Print the JSON Schema of architecture, space or experiment files, with which editors complete and check them.

    Example: voxray schema experiment > configs/experiment.schema.json
    """
    if kind is SchemaKind.EXPERIMENT:
        from voxray.stages.experiment_schema import experiment_schema as build_schema
    elif kind is SchemaKind.SPACE:
        from voxray.search.space.schema import space_schema as build_schema
    else:
        from voxray.models.spec.load import architecture_schema as build_schema
    _print_json(build_schema())


def _print_json(content: object) -> None:
    sys.stdout.write(json.dumps(content, indent=2) + "\n")
