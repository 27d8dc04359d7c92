"""python -m bench ee: equivariant encryption, exactness and cost."""

from __future__ import annotations

from typing import Annotated

import torch
import typer
from rich.console import Console

from bench import results
from bench.ee.cost import throughput, transform_speed, wire
from bench.ee.exactness import LIMITS, agreement, differences, embeddings
from bench.ee.twins import SHAPES

console = Console(highlight=False, soft_wrap=True)


def ee(
    quick: Annotated[
        bool, typer.Option("--quick", help="tiny shapes, fewer prompts and pairs; writes nothing")
    ] = False,
    prompts: Annotated[int, typer.Option(min=1, help="prompts of the greedy comparison")] = 1000,
    pairs: Annotated[int, typer.Option(min=2, help="paired runs of encrypted and plain")] = 20,
) -> None:
    """Equivariant encryption: differences in float64 and float32, greedy agreement, embeddings, speed, wire.

    Example: python -m bench ee
    """
    say = console.print
    names = [name for name in SHAPES if "tiny" in name] if quick else list(SHAPES)
    record = {
        "kind": "ee",
        "threads": torch.get_num_threads(),
        "limits": LIMITS,
        "differences": differences(names, say),
        "greedy": agreement(min(prompts, 100) if quick else prompts, 32, say),
        "embeddings": embeddings(20 if quick else 200, say),
        "throughput": throughput(min(pairs, 5) if quick else pairs, say),
        "wire": wire(),
    }
    if not quick:
        record["transform"] = transform_speed(say)
        say(f"written to bench/results/{results.save('ee', record).name}")
