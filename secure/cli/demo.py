"""`secure demo`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from secure.cli.adversary import DealersOption, SecurityOption, protocol_for
from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import end, examples
from secure.demo.sample import QUERY, model_folder
from secure.parties.process.exit_codes import ExitCode

with lazy_imports(__name__):
    from secure.demo import demo as search

EXAMPLES = examples(
    "secure demo", "secure demo --query 'how do I keep a copy of my files?'", "secure demo --security malicious"
)


def demo(
    query: Annotated[str, typer.Option(help="What to look for in the demo's twenty documents.")] = QUERY,
    security: SecurityOption = None,
    dealers: DealersOption = None,
) -> None:
    """A private semantic search with all parties on this machine, next to the same search in the clear."""
    protocol = protocol_for("beaver", security, None, dealers)
    if not search.run_demo(model_folder(), query, Console(), protocol=protocol):
        end(ExitCode.DEFECT)
