"""python -m bench numerics: our functions and PUMA's, alone and in whole models, on the replicated protocol."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console

from bench import results
from bench.numerics.functions import Case, cases, measure
from bench.numerics.networks import embeddings, perplexity
from bench.tiny.train import checkpoint
from secure.demo.sample import model_folder

console = Console(highlight=False, soft_wrap=True)
INCLUDES = "the replicated protocol itself, 16 fraction bits, its three parties as threads of one process over queues"
EXCLUDES = "seconds: threads of one process take others than three processes do"


def numerics(
    sentences: Annotated[int, typer.Option(min=1, help="of each band of lengths")] = 9,
    windows: Annotated[int, typer.Option(min=1, help="of 128 tokens, for the perplexity")] = 16,
) -> None:
    """Our functions and PUMA's approximations side by side: error, bytes, rounds; MiniLM's cosine, perplexity.

    Example: python -m bench numerics
    """
    say = console.print
    record = {
        "kind": "numerics",
        "includes": INCLUDES,
        "excludes": EXCLUDES,
        "functions": [_function(case, whose) for case in cases() for whose in ("ours", "puma")],
        "embeddings": embeddings(model_folder(), sentences, say),
        "perplexity": perplexity(checkpoint("base", say=say), windows, say),
    }
    say(f"included: {INCLUDES}\nexcluded: {EXCLUDES}")
    say(f"written to bench/results/{results.save('numerics', record).name}")


def _function(case: Case, whose: str) -> dict[str, Any]:
    found = measure(case.ours if whose == "ours" else case.pumas, case.arguments, case.exact)
    console.print(
        f"{case.name}, {case.range}, {whose}: error {found.max_error:.1e} at most, {found.mean_error:.1e} in the mean, "
        f"{found.bytes_per_party:.1f} bytes an element, {found.rounds} rounds"
    )
    return {"name": case.name, "range": case.range, "functions": whose} | asdict(found)
