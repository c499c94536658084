"""Commands about architectures."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from voxray.cli.terminal import OUT, echo, handle_errors
from voxray.config.training import TrainingSpec
from voxray.console.units import bytes_text, count_text
from voxray.models.shapes import infer_shapes, parse_input
from voxray.models.spec.load import architecture_schema, load_architecture
from voxray.search.space.schema import space_schema


class SchemaKind(StrEnum):
    """Files that have a schema."""

    ARCHITECTURE = "architecture"
    SPACE = "space"


@handle_errors
def describe(
    architecture: Annotated[Path, typer.Argument(help="JSON file.", show_default=False)],
    input_: Annotated[str, typer.Option("--input", help="Channels and voxels, such as 1x64x64x10.")],
    classes: Annotated[int, typer.Option("--classes", min=2, help="Classes, with the background if any.")] = 2,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Patches in a batch, for the memory of training.")] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the layers of an architecture with shapes and parameters, and what it costs."""
    from voxray.models.cost.estimate import estimate_cost

    shape, spec = parse_input(input_), load_architecture(architecture)
    lines = infer_shapes(spec, shape, classes, str(architecture))
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
            "layers": [vars(line) for line in lines],
        }
        sys.stdout.write(json.dumps(content, indent=2) + "\n")
        return
    table = Table("layer", "type", "", "output", "parameters", title=str(architecture))
    for line in lines:
        # As text, because rich takes brackets for its own.
        table.add_row(
            Text(line.key_path), line.type, line.detail, "x".join(map(str, line.output)), f"{line.parameters:,}"
        )
    OUT.print(table)
    echo(f"{len(lines)} layers, {total:,} trainable parameters, {bytes_text(4 * total)} as float32")
    echo(
        f"a patch: {count_text(on_cpu.forward_flops)}FLOP to predict, {count_text(on_cpu.training_flops)}FLOP to train"
    )
    memory = f"{bytes_text(on_cpu.peak_bytes)} on a CPU, {bytes_text(on_gpu.peak_bytes)} on a GPU in bfloat16"
    echo(f"training with Adam, batches of {batch}: at most {memory}")


@handle_errors
def schema(
    kind: Annotated[SchemaKind, typer.Argument(help="Of which files.")] = SchemaKind.ARCHITECTURE,
) -> None:
    """Print the JSON Schema of architecture files or of space files."""
    content = space_schema() if kind is SchemaKind.SPACE else architecture_schema()
    sys.stdout.write(json.dumps(content, indent=2) + "\n")
