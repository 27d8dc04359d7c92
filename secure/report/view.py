"""How a report looks: a summary, tables of rows, and what the numbers include."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from secure.models.storage.capacity import human_bytes
from secure.report.report_parts import ReportRow

_NOTE = (
    "online: payload bytes that computing parties send each other. dealer: payload bytes sent by the dealer. The "
    "summary includes seeds of 16 bytes. Neither counts gRPC and TLS frames, or the client's input and output, which "
    "stand apart. rounds: exchanges between them. seconds of a row: the slowest of them, waiting included; the dealer "
    "works ahead at the same time, so its seconds do not add to them."
)


def view(summary: Mapping[str, str], tables: Sequence[RenderableType]) -> RenderableType:
    """A whole report: the summary's lines, the tables, the note."""
    grid = Table.grid(padding=(0, 2))
    for name, text in summary.items():
        grid.add_row(name, text)
    return Group(grid, Text(), *tables, Text(_NOTE, style="dim"))


def cost_table(title: str, rows: Sequence[tuple[str, ReportRow]]) -> Table:
    """One line for each named row, and their sum."""
    table = Table(title=title, title_justify="left", show_footer=True, title_style="bold", box=box.SIMPLE)
    table.add_column("", footer="total", no_wrap=True)
    names = ("calls", "rounds", "online", "dealer", "seconds", "dealer s")
    total = _total([row for _, row in rows])
    for name, footer in zip(names, _cells(total), strict=True):
        table.add_column(name, footer=footer, justify="right", no_wrap=True)
    for name, row in rows:
        table.add_row(name, *_cells(row))
    return table


def as_text(report: RenderableType, width: int) -> str:
    """Text without colours, for any output."""
    console = Console(width=width, color_system=None, force_terminal=False, legacy_windows=False)
    with console.capture() as captured:
        console.print(report)
    return captured.get().rstrip()


def as_html(report: RenderableType, width: int) -> str:
    """A report's text for a notebook, in a font of one width."""
    return f'<pre style="line-height: normal">{html.escape(as_text(report, width))}</pre>'


def _cells(row: ReportRow) -> tuple[str, ...]:
    return (
        f"{row.calls}",
        f"{row.rounds}",
        human_bytes(row.online_bytes),
        human_bytes(row.dealer_bytes),
        f"{row.seconds:.3f}",
        f"{row.dealer_seconds:.3f}",
    )


def _total(rows: Sequence[ReportRow]) -> ReportRow:
    total = ReportRow("", "", 0, 0, 0, 0, 0.0, 0.0)
    for row in rows:
        total = total.plus(row)
    return total
