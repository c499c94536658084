"""The command line application."""

import typer

from voxray.cli import cluster, data, model, run, search
from voxray.cli.phantom import phantom

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
for command in (run.run, run.ingest, run.train, run.evaluate, run.report, run.predict, search.tune):
    app.command()(command)
for command in (data.inspect, data.reveal, model.describe, model.schema, cluster.status, cluster.dashboard):
    app.command()(command)
app.command(context_settings={"ignore_unknown_options": True})(cluster.submit)
app.add_typer(phantom, name="phantom")


def main(arguments: list[str] | None = None) -> None:
    """Entry point; `arguments` default to those of the process."""
    app(args=arguments)
