"""`secure audit …`: canaries with stored answers for private models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secure.cli.adversary import SecurityOption
from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import ConfigOption, ProtocolOption, SentencesFile, WeightsOption, examples
from secure.cli.text.loaded import loaded
from secure.cli.text.sentences import find_sentences

if TYPE_CHECKING:
    from secure.audit.canaries import Canaries

with lazy_imports(__name__):
    from secure.audit import canaries as stored
    from secure.audit import models as audited
    from secure.audit import report as reports
    from secure.audit import running

PREPARE = examples("secure audit prepare path/to/checkpoint sentences.txt --out canaries.json")
RUN = examples(
    "secure audit run canaries.json --config parties.toml --model shares --count 20",
    "secure audit run canaries.json sentences.txt --config parties.toml --model shares --count 2 --out embeddings.json",
)
REPORT = examples("secure audit report canaries.json")

CanariesArgument = Annotated[Path, typer.Argument(metavar="CANARIES", help="A file that audit prepare wrote.")]
CanariesOut = Annotated[Path, typer.Option("--out", metavar="FILE", help="A new file, for you alone.")]
CountOption = Annotated[int, typer.Option(min=1, help="How many canaries are asked.")]
HonestOption = Annotated[int, typer.Option("--honest", min=8, help="Texts to measure honest differences on.")]
LogOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Where answers are noted. Default: CANARIES with .log at its end.")
]

app = typer.Typer(
    name="audit",
    help="Canaries: requests whose right answers you know, among the others. docs/audit.md says what they show.",
    epilog="In order: prepare, with the model in the clear; run, now and then; report.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@app.command(epilog=PREPARE)
def prepare(
    checkpoint: Annotated[Path, typer.Argument(metavar="DIR", help="The checkpoint in the clear, at its owner's.")],
    file: SentencesFile = None,
    out: CanariesOut = Path("canaries.json"),
    honest: HonestOption = 24,
    config: ConfigOption = None,
    weights: WeightsOption = None,
    protocol: ProtocolOption = "beaver",
    security: SecurityOption = None,
) -> None:
    """Compute answers in the clear to texts of your own traffic, and measure how far honest private ones are from them.

    Some texts, drawn at random, are asked privately, of parties that are started here, or of those of --config, which
    must be honest now. The others become canaries.
    """
    texts, clear = find_sentences(file, []), audited.ClearModel(checkpoint)
    head = clear.kind != "embedding"
    with loaded(checkpoint, config, protocol, weights, head=head, security=security) as private:
        made = stored.prepare(clear.kind, texts, clear, audited.AuditedModel(private, clear.kind), noise_texts=honest)
    made.save(out)
    describe(made, out)


@app.command(epilog=RUN)
def run(
    canaries: CanariesArgument,
    model: Annotated[Path, typer.Option(metavar="DIR", help="The checkpoint or split folder that users ask.")],
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Sentences to answer; canaries go among them.")
    ] = None,
    count: CountOption = 20,
    log: LogOption = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the sentences' answers as JSON.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Most sentences in one session, as users have it.")] = 8,
    new_tokens: Annotated[int, typer.Option(min=1, help="Of a language model, as users ask for.")] = 1,
    config: ConfigOption = None,
    weights: WeightsOption = None,
    protocol: ProtocolOption = "beaver",
    security: SecurityOption = None,
) -> None:
    """Ask canaries, in random places among the sentences of FILE. The parties cannot tell which they are.

    Ends with code 27 where one was answered wrong.
    """
    found = stored.Canaries.load(canaries)
    texts = [] if file is None else find_sentences(file, [])
    notes = running.AuditLog(log_of(canaries, log))
    head = found.kind != "embedding"
    with loaded(model, config, protocol, weights, head=head, security=security) as private:
        asked = audited.AuditedModel(private, found.kind, batch_size=batch_size, new_tokens=new_tokens)
        answers = running.run(asked, found, notes, count=count, among=texts)
    if out is not None:
        out.write_text(json.dumps([answer.values for answer in answers]), encoding="utf-8")
    conclude(canaries, log)


@app.command(epilog=REPORT)
def report(canaries: CanariesArgument, log: LogOption = None) -> None:
    """Say what all runs so far found, and what share of spoilt answers they would have shown. Code 27 where one was."""
    conclude(canaries, log)


def log_of(canaries: Path, log: Path | None) -> Path:
    """The log that is named, or the one beside the canaries."""
    return log or canaries.with_name(canaries.name + ".log")


def describe(made: Canaries, out: Path) -> None:
    """Say what was prepared."""
    typer.echo(
        f"{len(made.canaries)} canaries are in {out}, readable by you alone. Of {len(made.noise)} honest answers the "
        f"largest difference is {max(made.noise):.2g}; an audit takes {made.threshold:.2g} for the threshold."
    )


def conclude(canaries: Path, log: Path | None) -> None:
    """Print what the whole log says. Raises AuditFailed where a canary was answered wrong."""
    found = reports.report(stored.Canaries.load(canaries), running.AuditLog(log_of(canaries, log)).entries())
    found.check()
    typer.echo(str(found))
