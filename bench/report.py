"""README's section of measured figures and bench/RESULTS.md, from bench/results and from nothing else.

README.md gets models, networks, peers and graphics cards between its two markers, and what the red team found;
bench/RESULTS.md gets the rest, by op, on a card, by size, by gate, by function and by attack; bench/plots the plots.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench import plots, tables
from bench.attack import table as attack_tables
from bench.ee import table as ee_tables
from bench.numerics import table as numerics_tables

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DETAILS = ROOT / "bench" / "RESULTS.md"
PLOTS = ROOT / "bench" / "plots"
BEGIN, END = "<!-- measured:begin -->", "<!-- measured:end -->"
KINDS = ("model", "generation", "layer", "scale", "gates", "peers", "gpu", "attack", "ee", "numerics")

Record = dict[str, Any]


def renew(records: Sequence[Record], readme: Path = README, details: Path = DETAILS) -> list[str]:
    """Rewrite README's section, the details and the plots. Returns lines that say what was done and what was not."""
    said = [
        f"left out: {record.get('command', 'a record')} is of the unknown kind {record.get('kind')!r}"
        for record in records
        if record.get("kind") not in KINDS
    ]
    drawn = plots.draw(records, details.parent / "plots")
    text = readme.read_text(encoding="utf-8")
    start, stop = text.index(BEGIN) + len(BEGIN), text.index(END)
    shown = [path.relative_to(readme.parent) for path in drawn]
    readme.write_text(f"{text[:start]}\n{summary(records, shown)}\n{text[stop:]}", encoding="utf-8")
    details.write_text(detailed(records), encoding="utf-8")
    known = [record for record in records if record.get("kind") in KINDS]
    said.append(f"{readme.name}, {details.name} and {len(drawn)} plots renewed from {len(known)} records")
    return said


def summary(records: Sequence[Record], images: Sequence[Path] = ()) -> str:
    """Markdown for README's section."""
    parts = [
        tables.models(_of(records, "model")),
        tables.generations(_of(records, "generation")),
        tables.peers(_of(records, "peers")),
        tables.networks(_of(records, "model")),
        tables.cards(_of(records, "model")),
        *(ee_tables.summary(record) for record in _of(records, "ee")),
        *(attack_tables.verdicts(record) for record in _of(records, "attack")),
        "\n".join(f"![{path.stem.replace('-', ' ')}]({path.as_posix()})" for path in images),
        tables.machines(records),
    ]
    return "\n\n".join(part for part in parts if part)


def detailed(records: Sequence[Record]) -> str:
    """Markdown for the details: costs by op, growth, gates, functions, attacks."""
    parts = [
        "# Measured, in detail\n\nWritten by `python -m bench report` from the files in `bench/results/`.",
        *(tables.by_op(record) for record in (*_of(records, "layer"), *_of(records, "model"))),
        tables.gpus(_of(records, "gpu")),
        *(tables.growth(record) for record in _of(records, "scale")),
        *(tables.gates(record) for record in _of(records, "gates")),
        *(numerics_tables.compared(record) for record in _of(records, "numerics")),
        *(attack_tables.attacks(record) for record in _of(records, "attack")),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _of(records: Iterable[Record], kind: str) -> list[Record]:
    return [record for record in records if record.get("kind") == kind]
