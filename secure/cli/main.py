"""The command line. Each command is a thin layer over the Python API or over `parties`."""

from __future__ import annotations

import json
import signal
import sys
import traceback
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import secure
from secure.api import PrivateModel
from secure.cli.doctor import examine
from secure.cli.ee.commands import app as ee_app
from secure.cli.help import examples
from secure.connection import connect, launch
from secure.demo.demo import run_demo
from secure.demo.sample import QUERY, model_folder
from secure.models.checkpoint.conversion import MANIFEST_NAME
from secure.models.contract.manifest import WeightVisibility
from secure.parties import launcher
from secure.parties.config import CALLERS
from secure.parties.process.exit_codes import HELP, ExitCode, exit_code
from secure.parties.process.main import main as party_main
from secure.parties.process.model_engine import model_engine
from secure.parties.transport.tls import make_certificates
from secure.protocols.core.errors import ConfigurationError, SecureInferenceError
from secure.protocols.families import family
from secure.split import split as split_folder
from secure.tokens import check_sentences

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
app.add_typer(ee_app)

_VERDICTS = {"ok": "[green]ok[/green]", "note": "[yellow]note[/yellow]", "fail": "[red]fail[/red]"}


class Role(StrEnum):
    """Roles that have a process."""

    P0 = "p0"
    P1 = "p1"
    P2 = "p2"
    DEALER = "dealer"


class ProtocolName(StrEnum):
    """How the parties compute."""

    BEAVER = "beaver"
    REPLICATED = "replicated"


@dataclass
class Options:
    """Options before the command, for `main`."""

    debug: bool = False


ProtocolOption = Annotated[
    ProtocolName, typer.Option(help="Beaver: P0, P1 and a dealer. Replicated: P0, P1 and P2, all computing.")
]
MemoryOption = Annotated[
    float | None,
    typer.Option(
        "--memory-gb",
        min=0.1,
        metavar="GB",
        help="What a party's process may take; weights that do not fit are read from disk. Default: what is available.",
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option("--device", help="What a party computes on: cpu, cuda, cuda:1. Default: as the file says, or cpu."),
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="TOML", help="Addresses and certificates of the parties.")
]


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
    if isinstance(context.obj, Options):
        context.obj.debug = debug


@app.command(epilog=examples("secure demo", "secure demo --query 'how do I keep a copy of my files?'"))
def demo(
    query: Annotated[str, typer.Option(help="What to look for in the demo's twenty documents.")] = QUERY,
) -> None:
    """A private semantic search with three processes on this machine, next to the same search in the clear."""
    if not run_demo(model_folder(), query, Console()):
        _end(ExitCode.DEFECT)


@app.command("launch", epilog=examples("secure launch", "secure launch --config parties.toml --device cuda"))
def launch_parties(
    config: ConfigOption = None,
    protocol: ProtocolOption = ProtocolName.BEAVER,
    memory_gb: MemoryOption = None,
    device: DeviceOption = None,
) -> None:
    """Start the three parties on this machine, and stop them with Ctrl-C.

    Without --config it takes free ports and fresh certificates, in a private folder that is removed at the end. With
    it, the file says which protocol.

    All three on one machine is for trying and measuring. It protects nothing from that machine.
    """
    console = Console(stderr=True)
    log, memory_bytes = launcher.console_log(console), _bytes(memory_gb)
    with launcher.launch(config, protocol=protocol.value, log=log, memory_bytes=memory_bytes, device=device) as started:
        path = config or started.config
        console.print(f"All three serve. Connect with [cyan]--config {escape(str(path))}[/cyan]; Ctrl-C stops them.")
        try:
            started.wait()
        except KeyboardInterrupt:
            console.print("Stopping.")


@app.command(epilog=examples("secure party p0 --config parties.toml", "secure party dealer --config parties.toml"))
def party(
    role: Annotated[Role, typer.Argument(help="Which of the three that the file names.")],
    config: Annotated[Path, typer.Option("--config", metavar="TOML", help="The same file on every host.")],
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the tensor library; the default is the file's.")
    ] = None,
    memory_gb: MemoryOption = None,
    device: DeviceOption = None,
) -> None:
    """Run one party in this process, until SIGTERM or Ctrl-C."""
    given = {"--threads": threads, "--memory-bytes": _bytes(memory_gb), "--device": device}
    options = [text for name, value in given.items() if value is not None for text in (name, str(value))]
    _end(party_main([role.value, "--config", str(config), *options], model_engine))


@app.command(epilog=examples("secure certs --out certs", "secure certs --out certs --host p0=p0.example.org --days 90"))
def certs(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder for certificates and keys.")],
    host: Annotated[
        list[str] | None,
        typer.Option(metavar="ROLE=NAME", help="A name or address of a role's machine. May be given several times."),
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="How long they are valid.")] = 365,
    protocol: ProtocolOption = ProtocolName.BEAVER,
) -> None:
    """Make an authority, and a certificate and key for each role.

    The authority's own key is not kept: to add or replace a certificate, make all of them again.

    Copy to each host authority.crt and its own role's .crt and .key. Then remove the keys here.
    """
    hosts: dict[str, list[str]] = {}
    for item in host or []:
        role, separator, name = item.partition("=")
        if not separator or not name:
            raise ConfigurationError(f"--host {item}: expected ROLE=NAME, for example p0=p0.example.org")
        hosts.setdefault(role, []).append(name)
    make_certificates(out, hosts, days, (*family(protocol.value).roles, *CALLERS))
    typer.echo(f"Certificates and keys are in {out}. Give each host authority.crt and its own role's two files.")


@app.command(
    epilog=examples("secure split all-MiniLM-L6-v2 --out shares", "secure split bert --out s --weights public")
)
def split(
    checkpoint: Annotated[Path, typer.Argument(help="A Hugging Face folder: config.json, safetensors, tokenizer.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder for shares and manifest.")],
    weights: Annotated[
        WeightVisibility, typer.Option(help="Who may know them: nobody, both parties, or P1 alone.")
    ] = "private",
    no_head: Annotated[bool, typer.Option("--no-head", help="Leave out the head that config.json names.")] = False,
    protocol: ProtocolOption = ProtocolName.BEAVER,
    stream_exponent: Annotated[
        int | None,
        typer.Option(
            metavar="K",
            help="Hold a language model's residual stream times 2^K. Default: what a run in the clear tells.",
        ),
    ] = None,
) -> None:
    """Split a checkpoint into one share file for each computing party. Any two together are the model.

    Copy p0.safetensors to P0 only, p1.safetensors to P1 only, p2.safetensors, if there is one, to P2 only, and
    manifest.json to all. With --weights server, p1.safetensors has the weights in the clear and p0.safetensors nothing:
    P1 is the model's owner.
    """
    manifest = split_folder(
        checkpoint, out, weights, head=not no_head, protocol=protocol.value, stream_exponent=stream_exponent
    )
    typer.echo(f"{len(manifest.parameters)} tensors, {weights} weights, model {manifest.digest[:12]}, in {out}.")


@app.command(
    epilog=examples(
        "secure predict 'a sentence' 'another one'",
        "secure predict --config parties.toml --model shares 'a sentence'",
        "secure predict --json --out embeddings.json 'a sentence'",
    )
)
def predict(
    texts: Annotated[list[str], typer.Argument(help="Sentences to embed.")],
    model: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A checkpoint or split folder; the default is the demo's model.")
    ] = None,
    config: ConfigOption = None,
    weights: Annotated[
        WeightVisibility | None, typer.Option(help="Default: private; of a split folder, as it was split.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Most sentences in one session.")] = 8,
    truncate: Annotated[bool, typer.Option("--truncate", help="Cut sentences that are too long.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print embeddings and report as JSON.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write that JSON to a file.")] = None,
    protocol: ProtocolOption = ProtocolName.BEAVER,
) -> None:
    """Embed sentences privately. Without --config, parties are started on this machine for this one command."""
    check_sentences(texts)  # before processes start
    with ExitStack() as ending:
        parties = ending.enter_context(launch(protocol=protocol.value) if config is None else connect(config))
        folder = model or model_folder()
        is_split = (folder / MANIFEST_NAME).is_file()
        # A sentence's embedding needs no head; a split folder has the head that it was split with.
        loaded = PrivateModel.from_pretrained(folder, parties=parties, weights=weights, head=is_split)
        if config is not None and not is_split:
            # These parties stay, and what was split for this command nobody can use after it.
            ending.enter_context(loaded)
        embeddings = loaded.encode(texts, batch_size=batch_size, truncate=truncate)
    value = {"embeddings": embeddings.tolist(), "report": json.loads(loaded.report.to_json())}
    if out is not None:
        _write(out, json.dumps(value))
    if as_json:
        typer.echo(json.dumps(value))
        return
    for text, row in zip(texts, embeddings.tolist(), strict=True):
        typer.echo(f"[{', '.join(f'{x:+.4f}' for x in row[:4])}, … {len(row)} numbers]  {text}")
    Console().print(loaded.report)


@app.command(epilog=examples("secure doctor", "secure doctor --config parties.toml"))
def doctor(config: ConfigOption = None) -> None:
    """Check the installation; with --config also certificates, ports, and whether each party can be reached."""
    findings = examine(config)
    table = Table(show_header=False, box=None, padding=(0, 2))
    for finding in findings:
        table.add_row(_VERDICTS[finding.verdict], escape(finding.what), escape(finding.detail))
    Console().print(table)
    failed = sum(finding.verdict == "fail" for finding in findings)
    typer.echo(f"{len(findings)} checks, {failed} failed.")
    if failed:
        _end(ExitCode.CONFIGURATION)


def main() -> None:
    """The console script: run a command and end with one of `secure.parties.process.exit_codes`."""
    # With an exception instead of the default, temporary folders are removed and parties stopped.
    signal.signal(signal.SIGTERM, _terminated)
    # Under nohup a closed terminal ends nothing.
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _terminated)
    options = Options()
    try:
        app(obj=options)
    except SecureInferenceError as error:
        if options.debug:
            traceback.print_exception(error)
        console, code = Console(stderr=True), exit_code(error)
        console.print(f"[red]error:[/red] {escape(str(error))}", soft_wrap=True)
        console.print(f"[dim]exit code {code.value}: {escape(HELP[code])}[/dim]", soft_wrap=True)
        sys.exit(code)


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _end(code: ExitCode) -> NoReturn:
    raise typer.Exit(int(code))


def _bytes(gigabytes: float | None) -> int | None:
    return None if gigabytes is None else round(gigabytes * 1e9)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None
