"""The command ``geoseg`` and its list of subcommands."""

from __future__ import annotations

from typing import Annotated

import typer

from geoseg import __version__
from geoseg.cli import console
from geoseg.cli.attention import attention
from geoseg.cli.check_data import check_data
from geoseg.cli.datasets import datasets
from geoseg.cli.demo import demo
from geoseg.cli.doctor import doctor
from geoseg.cli.evaluate import evaluate
from geoseg.cli.info import info
from geoseg.cli.models import models
from geoseg.cli.options import Debug
from geoseg.cli.predict import predict
from geoseg.cli.submission import submission
from geoseg.cli.train import train
from geoseg.cli.vectorize import vectorize

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain text: starts fast, and reads the same in a log
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        console.print_result(f"geoseg {__version__}")
        raise typer.Exit


@app.callback()
def _geoseg(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    _debug: Debug = False,
) -> None:
    """From imagery to land-cover map.

    The result goes to stdout, everything else to stderr.
    """
    console.set_up_logging()


COMMANDS = (
    train, predict, vectorize, evaluate, submission, attention, info, models, datasets, check_data, doctor, demo,
)  # fmt: skip
for command in COMMANDS:
    app.command()(command)
