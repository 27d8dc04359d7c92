"""Parts that the help texts of all commands share."""

from __future__ import annotations

from rich.markup import escape


def examples(*lines: str) -> str:
    """The epilogue of a command's help."""
    return "\n\n".join(["[bold]Examples[/bold]", *(f"[cyan]{escape(line)}[/cyan]" for line in lines)])
