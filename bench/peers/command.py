"""python -m bench peers: our system beside SPU and CrypTen."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench import results
from bench.peers.environments import CACHE, ENVIRONMENTS, ensure, mp_spdz
from bench.peers.interleave import OURS, beside_ours, interleave, ratios
from bench.peers.ours import Ours
from bench.peers.system import Peer, System
from bench.peers.workload import workload
from bench.shapes import checkpoint_folder
from secure.protocols.beaver.family import BEAVER
from secure.protocols.replicated.family import REPLICATED
from secure.protocols.witnessed.family import TWO_DEALERS, WITNESSED

_OURS = {OURS: BEAVER.name} | {f"{OURS}-{family.name}": family.name for family in (REPLICATED, WITNESSED, TWO_DEALERS)}
_DEFAULT = (OURS, "spu-memory", "spu-processes", "crypten")
_MASKING = "sharing the input, reconstructing the output"
_SETUP = "compiling, starting, sharing the weights"
_NO_DEALER = (
    "a dealer: party 0 makes the triples, during the run, and knows them, so that it could read the other's data; "
    "no message carries them"
)


@dataclass(frozen=True)
class _Kind:
    environment: str | None
    """None: built by its user, as MP-SPDZ is."""
    runner: str
    argument: str
    includes: str
    excludes: str


_SPU_MEMORY = _Kind(
    "spu", "spu_runner", "memory", _MASKING, f"network and TLS; processes: its parties are threads of one; {_SETUP}"
)
_SPU_PROCESSES = _Kind("spu", "spu_runner", "processes", f"three processes over loopback, {_MASKING}", f"TLS; {_SETUP}")
_CRYPTEN = _Kind(
    "crypten", "crypten_runner", "tanh", f"two processes over loopback, {_MASKING}", f"TLS; {_NO_DEALER}; {_SETUP}"
)
_MP_SPDZ = _Kind(
    None,
    "mp_spdz_runner",
    "",
    "four processes over loopback with TLS, what its parties make ahead of the products, one of which may deviate",
    "compiling, starting, sharing the weights and the input, opening the output",
)
_PEERS = {
    "spu-memory": _SPU_MEMORY,
    "spu-processes": _SPU_PROCESSES,
    "crypten": _CRYPTEN,
    "crypten-erf": replace(_CRYPTEN, argument="erf"),
    "mp-spdz": _MP_SPDZ,
}


def peers(
    model: Annotated[
        Literal["bert-base", "bert-large", "minilm"], typer.Option(help="shapes, or a real model")
    ] = "bert-base",
    layers: Annotated[int, typer.Option(min=1, help="encoder layers; minilm always has its six")] = 1,
    tokens: Annotated[int, typer.Option(min=1, help="tokens of each input")] = 128,
    batch: Annotated[int, typer.Option(min=1, help="inputs at a time")] = 1,
    repeats: Annotated[int, typer.Option(min=1, help="runs of each system after its warm-up")] = 3,
    system: Annotated[
        list[str] | None,
        typer.Option(
            help="only this one; repeat for several (also ours-replicated, ours-witnessed, ours-witnessed-two-dealers, "
            "crypten-erf, mp-spdz)"
        ),
    ] = None,
) -> None:
    """Ours, SPU (ABY3) and CrypTen on the same weights and input, taking turns in one run.

    Makes the peers' environments in .peers at the first call; MP-SPDZ is built by hand, and how is said when it is not
    there. A peer that fails is reported with the reason. With a party that may deviate: ours-witnessed and mp-spdz.

    Example: python -m bench peers --layers 1 --repeats 3

    python -m bench peers --layers 1 --system ours --system ours-witnessed --system mp-spdz
    """
    console = Console()
    names = system or list(_DEFAULT)
    known = (*_OURS, *_PEERS)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise typer.BadParameter(f"unknown system {unknown[0]!r}; known: {', '.join(known)}")
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        folder = checkpoint_folder(model, scratch, layers)
        work, ids, due = workload(folder, batch, tokens)
        layers = len(work.layers)
        file = scratch / "workload.npz"
        work.save(file)
        del work
        systems: list[System] = [
            Ours(folder, ids, scratch, _OURS[name]) if name in _OURS else _peer(name, file, scratch, console)
            for name in names
        ]
        found = interleave(systems, due.numpy(), repeats, lambda line: console.print(f"[dim]{line}[/dim]"))
    record = {
        "kind": "peers",
        "setting": {"model": model, "layers": layers, "tokens": tokens, "batch": batch, "repeats": repeats},
        "order": names,
        "error_of": "last hidden state against transformers in float32",
        "systems": found,
        "ratios": ratios(found),
    }
    console.print(table(record))
    for line in beside_ours(found):
        console.print(line)
    for name, figures in found.items():
        console.print(f"[bold]{name}[/bold] counts {figures['includes']}; leaves out {figures['excludes']}")
        if "error" in figures:
            console.print(Text.assemble((f"{name} failed: ", "red"), figures["error"]))
    path = results.save(f"peers-{model}-{layers}layers-{batch}x{tokens}", record)
    console.print(f"written to {path.name}")


def _peer(name: str, file: Path, scratch: Path, console: Console) -> Peer:
    kind = _PEERS[name]

    def command() -> list[str]:
        module = ["-m", f"bench.peers.{kind.runner}", str(file)]
        if kind.environment is None:
            return [sys.executable, *module, str(mp_spdz())]
        return [str(ensure(ENVIRONMENTS[kind.environment], CACHE, console.print)), *module, kind.argument]

    return Peer(name, command, includes=kind.includes, excludes=kind.excludes, scratch=scratch)


def table(record: dict[str, Any]) -> Table:
    """One row for each system. GB are the peaks of all its processes together."""
    setting = record["setting"]
    title = f"{setting['model']}, {setting['layers']} layers, {setting['batch']} × {setting['tokens']} tokens"
    shown = Table(title=title)
    shown.add_column("system", no_wrap=True)
    for heading in ("seconds", "ours faster by", "MB sent per party", "MB by dealer", "rounds", "error", "GB in all"):
        shown.add_column(heading, justify="right", min_width=7)
    for name, figures in record["systems"].items():
        if "error" in figures:
            shown.add_row(name, "failed")
            continue
        ratio = record["ratios"].get(name)
        rounds = figures.get("rounds")
        shown.add_row(
            name,
            f"{figures['median_seconds']:.2f}",
            f"{ratio:.1f} ×" if ratio is not None else "",
            f"{figures['bytes_sent_per_party'] / 1e6:.1f}",
            f"{figures['dealer_bytes'] / 1e6:.1f}" if "dealer_bytes" in figures else "",
            f"{rounds:,}" if rounds is not None else "",
            f"{figures['max_error']:.1e}",
            f"{sum(figures['peak_memory_bytes'].values()) / 1e9:.2f}",
        )
    return shown
