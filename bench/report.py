"""README's table, docs/measured.md and bench/RESULTS.md, from bench/results and from nothing else.

README.md gets one small table between its two markers. docs/measured.md gets models, networks, peers and graphics
cards, stocks, requests under load, and what the red team, a verifier and killed parties showed. bench/RESULTS.md gets
the rest, by op, on a card, by size, by gate, by function and by attack. bench/plots gets the plots.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import plots, tables
from bench.accuracy import table as accuracy_tables
from bench.ahead import table as ahead_tables
from bench.attack import table as attack_tables
from bench.audit import table as audit_tables
from bench.ee import table as ee_tables
from bench.hybrid import table as hybrid_tables
from bench.kills import table as kills_tables
from bench.link import table as link_tables
from bench.load import table as load_tables
from bench.mpcvit import table as mpcvit_tables
from bench.numerics import table as numerics_tables
from bench.private_inference import table as inference_tables
from bench.soak import table as soak_tables
from bench.trust import table as trust_tables
from bench.verifier import table as verifier_tables

BEGIN, END = "<!-- measured:begin -->", "<!-- measured:end -->"
KINDS = (
    "model",
    "generation",
    "layer",
    "scale",
    "gates",
    "peers",
    "gpu",
    "attack",
    "ee",
    "numerics",
    "accuracy",
    "link",
    "verifier",
    "audit",
    "hybrid",
    "inference-constants",
    "inference-load",
    "inference-simulated",
    "ahead",
    "restart",
    "kills",
    "trust",
    "load",
    "soak",
    "mpcvit",
    "mpcvit-shapes",
)

Record = dict[str, Any]


@dataclass(frozen=True)
class Pages:
    """What a report writes in the checkout whose folder is `root`."""

    root: Path

    @property
    def readme(self) -> Path:
        """The page that gets the small table, between its markers."""
        return self.root / "README.md"

    @property
    def measured(self) -> Path:
        """The page that gets the large tables and shows the plots."""
        return self.root / "docs" / "measured.md"

    @property
    def details(self) -> Path:
        """The page that gets the costs by op, growth, gates, functions and attacks."""
        return self.root / "bench" / "RESULTS.md"

    @property
    def texts(self) -> tuple[Path, Path, Path]:
        """The three pages."""
        return self.readme, self.measured, self.details

    @property
    def plots(self) -> Path:
        """The folder of the plots, one file for each."""
        return self.root / "bench" / "plots"


PAGES = Pages(Path(__file__).parent.parent)
"""Those of this checkout."""


def renew(records: Sequence[Record], pages: Pages = PAGES) -> list[str]:
    """Rewrite README's table, the two pages and the plots. Returns lines that say what was done and what was not."""
    said = [
        f"left out: {record.get('command', 'a record')} is of the unknown kind {record.get('kind')!r}"
        for record in records
        if record.get("kind") not in KINDS
    ]
    for page in pages.texts:
        page.parent.mkdir(exist_ok=True)
    drawn = plots.draw(records, pages.plots)
    text = pages.readme.read_text(encoding="utf-8")
    start, stop = text.index(BEGIN) + len(BEGIN), text.index(END)
    pages.readme.write_text(f"{text[:start]}\n{headline(records)}\n{text[stop:]}", encoding="utf-8")
    images = [os.path.relpath(path, pages.measured.parent) for path in drawn]
    pages.measured.write_text(measured(records, images), encoding="utf-8")
    pages.details.write_text(detailed(records), encoding="utf-8")
    known = [record for record in records if record.get("kind") in KINDS]
    names = ", ".join(page.name for page in pages.texts)
    said.append(f"{names} and {len(drawn)} plots renewed from {len(known)} records")
    return said


def headline(records: Sequence[Record]) -> str:
    """Markdown for README's table."""
    return tables.headline(_of(records, "model"), _of(records, "generation"))


def measured(records: Sequence[Record], images: Sequence[str] = ()) -> str:
    """Markdown for the page of measured figures, which shows the images at these paths."""
    sections = {
        "One prediction": [tables.models(_of(records, "model"))],
        "Generation": [tables.generations(_of(records, "generation"))],
        "Beside other systems": [tables.peers(_of(records, "peers"))],
        "Slower networks": [tables.networks(_of(records, "model"))],
        "Graphics cards": [tables.cards(_of(records, "model"))],
        "Right answers": [accuracy_tables.right(_of(records, "accuracy"))],
        "From stock": [ahead_tables.from_stock(_of(records, "ahead"))],
        "Started again": [ahead_tables.restarted(_of(records, "restart"))],
        "Killed parties": [kills_tables.killed(_of(records, "kills"))],
        "Roles that deviate": [trust_tables.caught(_of(records, "trust"))],
        "Left running": [soak_tables.grown(_of(records, "soak"))],
        "Many clients": [load_tables.served(_of(records, "load"))],
        "A client and a model's owner alone": [hybrid_tables.taken(_of(records, "hybrid"))],
        "Requests that arrive": [
            inference_tables.constants(_of(records, "inference-constants")),
            inference_tables.loads(_of(records, "inference-load")),
            inference_tables.simulations(_of(records, "inference-simulated")),
        ],
        "Heads and layers that need no softmax": [
            mpcvit_tables.fronts(_of(records, "mpcvit")),
            mpcvit_tables.shapes(_of(records, "mpcvit-shapes")),
        ],
        "Encrypted checkpoints": [ee_tables.summary(record) for record in _of(records, "ee")],
        "Attacks on encrypted checkpoints": [attack_tables.verdicts(record) for record in _of(records, "attack")],
        "A verifier of one server's answers": [verifier_tables.found(_of(records, "verifier"))],
        "Audits by canaries": [audit_tables.found(_of(records, "audit"))],
        "Plots": [f"![{Path(image).stem.replace('-', ' ')}]({image})" for image in images],
        "Machine": [tables.machines(records)],
    }
    parts = ["# Measured", "This page is written by `python -m bench report` from the files in `bench/results/`."]
    for title, found in sections.items():
        if any(found):
            parts += [f"## {title}", *filter(None, found)]
    return "\n\n".join(parts) + "\n"


def detailed(records: Sequence[Record]) -> str:
    """Markdown for the details: costs by op, growth, gates, functions, attacks."""
    parts = [
        "# Measured, in detail\n\nWritten by `python -m bench report` from the files in `bench/results/`.",
        *(tables.by_op(record) for record in (*_of(records, "layer"), *_of(records, "model"))),
        *(link_tables.rounds(record) for record in _of(records, "link")),
        tables.gpus(_of(records, "gpu")),
        *(tables.growth(record) for record in _of(records, "scale")),
        *(tables.gates(record) for record in _of(records, "gates")),
        *(numerics_tables.compared(record) for record in _of(records, "numerics")),
        *(attack_tables.attacks(record) for record in _of(records, "attack")),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _of(records: Iterable[Record], kind: str) -> list[Record]:
    return [record for record in records if record.get("kind") == kind]
