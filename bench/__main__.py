"""python -m bench: measure gates, layers, models and peers, write bench/results, renew tables and plots."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from bench import baseline, generation, house, report, results
from bench.accuracy.command import accuracy
from bench.ahead.command import ahead
from bench.ahead.restart import restart
from bench.attack.command import attack
from bench.audit.command import audit
from bench.ee.command import ee
from bench.gates import measure_gates
from bench.hybrid.command import hybrid
from bench.kills.command import kills
from bench.latency.command import latency
from bench.link.command import link
from bench.load.command import load
from bench.measure import Setting, measure
from bench.mpcvit.command import app as mpcvit_app
from bench.numerics.command import numerics
from bench.peers.command import peers
from bench.private_inference.command import app as private_inference_app
from bench.scale import VALUES, Dimension, growth_lines, measure_scale
from bench.shapes import DECODERS, SHAPES
from bench.soak.command import soak_parties
from bench.trust.command import trust
from bench.verifier.command import verifier
from secure.models.contract.manifest import WeightVisibility
from secure.protocols.core.errors import ConfigurationError, SecureInferenceError
from secure.protocols.core.transfer import find_device
from secure.protocols.families import DEFAULT

app = typer.Typer(no_args_is_help=True, help="Measure secure inference with three real processes on this machine.")
console = Console(highlight=False, soft_wrap=True)

ProtocolName = Literal["beaver", "replicated", "witnessed", "witnessed-two-dealers"]
NetworkName = Literal["loopback", "lan", "wan"]
Model = Annotated[str, typer.Argument(help=", ".join([*SHAPES, *DECODERS]))]
Tokens = Annotated[int, typer.Option(min=1, help="tokens of each input")]
Batch = Annotated[int, typer.Option(min=1, help="inputs at a time")]
Weights = Annotated[WeightVisibility, typer.Option(help="who may see the weights")]
Layers = Annotated[int | None, typer.Option(min=1, help="fewer layers than the model has")]
Hidden = Annotated[int | None, typer.Option(min=64, help="another width, with random weights; a multiple of 64")]
Repeats = Annotated[int, typer.Option(min=1, help="runs after the warm-up")]
OnNetwork = Annotated[NetworkName, typer.Option(help="lan: 1 Gbps, 1 ms; wan: 200 Mbps, 40 ms; there and back")]
ByProtocol = Annotated[
    ProtocolName,
    typer.Option(
        help="beaver: two parties and a dealer; replicated: three parties; witnessed: three evaluators and a dealer"
    ),
]
Device = Annotated[str, typer.Option(help="what the parties compute on: cpu, or cuda, with the CPU beside it")]
Phases = Annotated[bool, typer.Option(help="measure offline and online apart as well, in a second launch")]


@app.command()
def model(
    name: Model,
    tokens: Tokens = 128,
    batch: Batch = 1,
    weights: Weights = "private",
    layers: Layers = None,
    hidden: Hidden = None,
    repeats: Repeats = 5,
    network: OnNetwork = "loopback",
    phases: Phases = True,
    protocol: ByProtocol = "beaver",
    device: Device = "cpu",
    generate: Annotated[int | None, typer.Option(min=2, help="new tokens after a prompt of --tokens; decoders")] = None,
    reveal: Annotated[Literal["logits", "token"], typer.Option(help="what the client gets of each step")] = "logits",
    extrapolate: Annotated[bool, typer.Option(help="from --layers layers to all that the model has")] = False,
    memory_gb: Annotated[
        float | None, typer.Option(min=0.1, help="of each party, with --generate; weights beyond it are read from disk")
    ] = None,
) -> None:
    """One model: seconds by phase, rounds, bytes, memory and error; or, with --generate, by token.

    Example: python -m bench model minilm --tokens 16

    Example: python -m bench model gpt2 --tokens 32 --generate 32
    """
    find_device(device)
    if generate is not None:
        if device != "cpu":
            raise ConfigurationError("--generate is measured on the CPU only; leave --device out")
        decoder = generation.Setting(
            name, tokens, generate, batch, weights, layers, repeats, reveal, network, memory_gb
        )
        _generation(decoder, extrapolated=extrapolate)
        return
    setting = Setting(name, tokens, batch, weights, layers, repeats, hidden, network, phases, protocol, device)
    record = measure(setting, console)
    _show(record)
    _save(_name_of(setting), record)


@app.command()
def layer(
    name: Model = "bert-base",
    tokens: Tokens = 128,
    batch: Batch = 1,
    weights: Weights = "private",
    repeats: Repeats = 5,
    network: OnNetwork = "loopback",
    phases: Phases = True,
    protocol: ByProtocol = "beaver",
) -> None:
    """One encoder layer by op, of a model with this one layer.

    Example: python -m bench layer bert-base --tokens 128
    """
    setting = Setting(name, tokens, batch, weights, 1, repeats, network=network, phases=phases, protocol=protocol)
    record = measure(setting, console, layer="layer.0")
    for op, cost in sorted(record["ops"].items(), key=lambda item: -item[1]["p1"]):
        console.print(
            f"{op:20} {cost['p1']:7.3f} s, dealer {cost.get('dealer', 0.0):7.3f} s, {cost['rounds']:4.0f} rounds, "
            f"online {cost['online_bytes'] / 1e6:8.2f} MB, dealer {cost['dealer_bytes'] / 1e6:8.2f} MB"
        )
    seconds = record["layer_seconds"]["layer.0"]
    apart = f", online alone {record['phases']['layer_seconds']['layer.0']:.3f} s" if setting.apart else ""
    console.print(f"the layer: {seconds:.3f} s{apart}; with embeddings, pooler and output:")
    _show(record)
    _save(f"layer-{_name_of(setting)}", record)


@app.command()
def scale(
    dimension: Annotated[Dimension, typer.Argument(help="what is varied")],
    name: Annotated[str, typer.Option("--model", help=", ".join(SHAPES))] = "minilm",
    values: Annotated[str, typer.Option(help="comma-separated; default: a range for each dimension")] = "",
    tokens: Tokens = 32,
    batch: Batch = 1,
    weights: Weights = "private",
    layers: Layers = None,
    hidden: Hidden = None,
    repeats: Repeats = 3,
    network: OnNetwork = "loopback",
) -> None:
    """How cost grows with tokens, batch, layers or hidden size, next to transformers' own growth.

    Example: python -m bench scale tokens --model minilm --values 16,64,256
    """
    setting = Setting(name, tokens, batch, weights, layers, repeats, hidden, network, phases=False)
    record = measure_scale(dimension, _numbers(values) or VALUES[dimension], setting, console)
    for line in growth_lines(record):
        console.print(line)
    _save(f"scale-{dimension}-{_name_of(setting)}", record)


@app.command()
def gates(
    exponents: Annotated[str, typer.Option(help="sizes as powers of two, comma-separated")] = "10,14,18",
    only: Annotated[str, typer.Option(help="only gates whose name contains this")] = "",
    repeats: Repeats = 3,
    network: OnNetwork = "loopback",
) -> None:
    """Every gate: microseconds and bytes for each element, rounds, by size.

    Example: python -m bench gates --exponents 10,20 --only piecewise
    """
    record = measure_gates([2**exponent for exponent in _numbers(exponents)], repeats, network, only, console)
    _save(f"gates{'-' + only if only else ''}{_suffix(network)}", record)


app.command()(peers)
app.command()(attack)
app.command()(ee)
app.command()(numerics)
app.command()(accuracy)
app.command()(kills)
app.command()(ahead)
app.command()(restart)
app.command()(load)
app.command("soak")(soak_parties)
app.command()(hybrid)
app.command()(link)
app.command()(verifier)
app.command()(audit)
app.command()(trust)
app.command()(latency)
app.add_typer(mpcvit_app, name="mpcvit")
app.add_typer(private_inference_app, name="private-inference")


@app.command("report")
def renew_report() -> None:
    """Renew README's table, docs/measured.md, bench/RESULTS.md and bench/plots, from bench/results and nothing else.

    Example: python -m bench report
    """
    for line in report.renew(results.load_all()):
        console.print(line)


@app.command("baseline")
def guard(
    update: Annotated[bool, typer.Option("--update", help="rewrite bench/baseline.json with what is found")] = False,
) -> None:
    """Compare bytes, rounds and error of each model with bench/baseline.json, as `make test` does.

    Example: python -m bench baseline --update
    """
    if update:
        baseline.update(say=console.print)
        console.print(f"written to {baseline.FILE.name}")
        return
    differences = baseline.differences(baseline.read(), say=console.print)
    for line in differences:
        console.print(f"[red]{line}[/red]")
    if differences:
        console.print(f"if the change is meant: {baseline.UPDATE}")
        raise typer.Exit(1)


@app.command("house")
def count_house(
    root: Annotated[
        Path, typer.Option(help="another checkout, of any commit since the first", file_okay=False)
    ] = house.ROOT,
) -> None:
    """Count the structure: largest folder, file and class, what families share, words with two meanings.

    Example: python -m bench house --root ../older-checkout
    """
    table = Table("count", "found", "most", "where")
    for count in house.counts(root):
        table.add_row(count.what, str(count.value), "" if count.most is None else str(count.most), count.where)
    console.print(table)


def _show(record: dict[str, Any]) -> None:
    console.print(
        f"median {record['median_seconds']:.3f} s end to end, {record['rounds']:.0f} rounds, "
        f"online {record['online_bytes'] / 1e6:.2f} MB, dealer {record['dealer_bytes'] / 1e6:.2f} MB, "
        f"largest error {record['max_error']:.1e}; transformers in the clear {record['plaintext_seconds']:.4f} s"
    )
    if "phases" in record:
        phases = record["phases"]
        console.print(
            f"apart: offline {phases['median_offline_seconds']:.3f} s, online {phases['median_online_seconds']:.3f} s"
        )
    console.print(f"[dim]included: {record['includes']}\nexcluded: {record['excludes']}[/dim]")


def _generation(setting: generation.Setting, *, extrapolated: bool) -> None:
    record = (generation.extrapolate if extrapolated else generation.measure_generation)(setting, console)
    error = f", largest error {record['max_error']:.1e}" if "max_error" in record else ""
    console.print(
        f"prompt {record['prompt_seconds']:.3f} s; each token {record['token_seconds']:.3f} s, "
        f"{record['token_rounds']:.0f} rounds, online {record['token_online_bytes'] / 1e6:.2f} MB, "
        f"dealer {record['token_dealer_bytes'] / 1e6:.2f} MB, sent by the client "
        f"{record['token_upload_bytes'] / 1e6:.2f} MB{error}; transformers in the clear "
        f"{record['plaintext_token_seconds']:.4f} s a token"
    )
    for name, value in record.get("extrapolated", {}).items():
        console.print(f"  {name}: {value:.4g}" if isinstance(value, float) else f"  {name}: {value}")
    console.print(f"[dim]included: {record['includes']}\nexcluded: {record['excludes']}[/dim]")
    layers = f"{setting.layers}layers-" if setting.layers else ""
    reveal = "" if setting.reveal == "logits" else "-token"
    memory = "" if setting.memory_gb is None else f"-{setting.memory_gb:g}gb"
    name = f"{setting.model}-{layers}{setting.weights}-{setting.batch}x{setting.tokens}-generate{reveal}{memory}"
    _save(name + _suffix(setting.network), record)


def _name_of(setting: Setting) -> str:
    """File name of a result: a setting measured again replaces its older result."""
    layers = f"{setting.layers}layers-" if setting.layers else ""
    hidden = f"{setting.hidden}wide-" if setting.hidden else ""
    protocol = "" if setting.protocol == DEFAULT.name else f"{setting.protocol}-"
    shape = f"{setting.weights}-{setting.batch}x{setting.tokens}"
    device = "" if setting.device == "cpu" else f"-{setting.device.replace(':', '')}"
    return f"{protocol}{setting.model}-{layers}{hidden}{shape}{device}{_suffix(setting.network)}"


def _suffix(network: str) -> str:
    return "" if network == "loopback" else f"-{network}"


def _save(name: str, record: dict[str, Any]) -> None:
    console.print(f"written to bench/results/{results.save(name, record).name}")


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part]
    except ValueError:
        raise ConfigurationError(f"{text!r} is no list of whole numbers such as 16,32,64") from None


def main() -> None:
    """Run a command; errors of ours are one line and exit code 1."""
    results.commit()
    try:
        app()
    except SecureInferenceError as error:
        console.print(f"[red]{error}[/red]")
        sys.exit(1)


if __name__ == "__main__":
    main()
