"""python -m bench attack: the red team against equivariant encryption."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, replace
from typing import Annotated, Any, get_args

import torch
import typer
from rich.console import Console

from bench import results
from bench.attack import suite, verdict
from bench.attack.record import merged, runs_of
from bench.attack.view import TIERS, Configuration
from bench.attack.world import loss, tiny_world
from bench.tiny.train import Recipe
from secure.protocols.core.errors import ConfigurationError

console = Console(highlight=False, soft_wrap=True)
MODEL = "LLaMA of {layers} layers, {width} wide, {vocabulary:,} tokens, trained by bench/tiny"


def attack(
    quick: Annotated[bool, typer.Option("--quick", help="one key, less traffic; writes nothing")] = False,
    only: Annotated[str, typer.Option(help="only these, such as A1,A6; writes nothing, unless with --add")] = "",
    add: Annotated[bool, typer.Option("--add", help="put these attacks into the record of an earlier run")] = False,
    keys: Annotated[int, typer.Option(min=1, help="how often everything is encrypted anew and attacked")] = 3,
    noise: Annotated[float, typer.Option(min=0.0, max=1.0, help="relative noise of the configuration `noise`")] = 0.1,
) -> None:
    """Red team: attacks on equivariant encryption by tier and configuration; writes secure/ee/files/red_team.json.

    Example: python -m bench attack --only A1,A5

    Example: python -m bench attack --only A15 --add
    """
    if add and (quick or not only):
        raise ConfigurationError("--add goes with --only, and with the whole effort")
    torch.set_num_threads(os.cpu_count() or 1)
    chosen = tuple(part.strip().upper() for part in only.split(",") if part.strip())
    effort = replace(suite.QUICK if quick else suite.Effort(keys=keys), only=chosen, noise=noise)
    started = time.perf_counter()
    recipe = Recipe()
    world = tiny_world(recipe, console.print)
    configurations: tuple[Configuration, ...] = get_args(Configuration)
    rows = suite.run(world, configurations, effort, console.print)
    record: dict[str, Any] = {
        "kind": "attack",
        "setting": asdict(effort),
        "model": asdict(recipe),
        "threshold": verdict.THRESHOLD,
        "loss": {
            name: loss(world, state, world.traffic)
            for name, state in (("base", world.base), ("related", world.related), ("finetuned", world.finetuned))
        },
        "rows": rows,
    }
    if (chosen and not add) or quick:
        return
    if not chosen:
        record["sweep"] = suite.sweep(world, effort, console.print)
        record["other_text"] = suite.other_text(world, effort)
    record = results.environment() | json.loads(json.dumps(record)) | {"seconds": time.perf_counter() - started}
    if add:
        record = merged(results.load("attack"), record)
    model = MODEL.format(**asdict(recipe)) + f"; {effort.keys} key{'s' * (effort.keys != 1)}"
    content = verdict.write(record["rows"], noise, model, runs_of(record))
    record["verdicts"] = content["verdicts"]
    for tier in TIERS:
        for configuration, cell in content["verdicts"][tier].items():
            console.print(f"{tier} {configuration}: {cell['status']}: {cell['figure']}")
    console.print(f"written to bench/results/{results.save('attack', record).name}")
