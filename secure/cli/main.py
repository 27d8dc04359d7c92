"""The command line: each command is a file here, in `text`, `stock`, `certs` or `ee`, and a line below.

A command is a thin layer over the Python API or over `parties`. Its file says its options, and imports what does the
work when it runs (see `lazy_imports`), so that help and usage errors need no torch.
"""

from __future__ import annotations

import signal
import sys
import traceback
from types import FrameType
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

import secure
from secure.cli import (
    check_ranges,
    cost,
    demo,
    distil,
    doctor,
    launch,
    party,
    search,
    split,
    status,
    verify,
)
from secure.cli.audit import app as audit_app
from secure.cli.certs.group import app as certs_app
from secure.cli.ee.group import app as ee_app
from secure.cli.options import GlobalOptions
from secure.cli.stock import deal, precompute, store
from secure.cli.text import chat, gateway, generate, predict
from secure.parties.process.exit_codes import exit_code, explained
from secure.protocols.core.errors import SecureInferenceError

app = typer.Typer(
    name="secure",
    help="Private transformer inference: the machines that compute learn neither the input nor the weights.",
    epilog="First steps: secure demo · Something is wrong: secure doctor · Each command has its own --help.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    # A traceback of typer's kind shows local variables, which may hold shares.
    pretty_exceptions_enable=False,
)
app.command(epilog=demo.EXAMPLES)(demo.demo)
app.command(epilog=launch.EXAMPLES)(launch.launch)
app.command(epilog=party.EXAMPLES)(party.party)
app.add_typer(certs_app)
app.command(epilog=check_ranges.EXAMPLES)(check_ranges.check)
app.command(epilog=cost.EXAMPLES)(cost.cost)
app.command(epilog=search.EXAMPLES)(search.search)
app.command(epilog=distil.EXAMPLES)(distil.distil)
app.command(epilog=split.EXAMPLES)(split.split)
app.command(epilog=predict.EXAMPLES)(predict.predict)
app.command(epilog=generate.EXAMPLES)(generate.generate)
app.command(epilog=chat.EXAMPLES)(chat.chat)
app.command(epilog=gateway.EXAMPLES)(gateway.gateway)
app.command(epilog=deal.EXAMPLES)(deal.deal)
app.command(epilog=precompute.EXAMPLES)(precompute.precompute)
app.command(epilog=store.EXAMPLES)(store.store)
app.command(epilog=verify.EXAMPLES)(verify.verify)
app.command(epilog=doctor.EXAMPLES)(doctor.doctor)
app.command(epilog=status.EXAMPLES)(status.status)
app.add_typer(audit_app)
app.add_typer(ee_app)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"secure-inference {secure.__version__}")
        raise typer.Exit


@app.callback()
def _before(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    if isinstance(context.obj, GlobalOptions):
        context.obj.debug = debug


def main() -> None:
    """The console script: run a command and end with one of `secure.parties.process.exit_codes`."""
    # With an exception instead of the default, temporary folders are removed and parties stopped.
    signal.signal(signal.SIGTERM, _terminated)
    # Under nohup a closed terminal ends nothing. Windows has no such signal.
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _terminated)
    options = GlobalOptions()
    try:
        app(obj=options)
    except SecureInferenceError as error:
        if options.debug:
            traceback.print_exception(error)
        console, code = Console(stderr=True), exit_code(error)
        console.print(f"[red]error:[/red] {escape(str(error))}", soft_wrap=True)
        console.print(f"[dim]{escape(explained(code))}[/dim]", soft_wrap=True)
        sys.exit(code)


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)
