"""python -m bench attack: the red team against equivariant encryption."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, replace
from typing import Annotated, get_args

import torch
import typer
from rich.console import Console

from bench import results
from bench.attack import suite, verdict
from bench.attack.view import TIERS, Configuration
from bench.attack.world import loss, tiny_world
from bench.tiny.train import Recipe

console = Console(highlight=False, soft_wrap=True)
MODEL = "LLaMA of {layers} layers, {width} wide, {vocabulary:,} tokens, trained by bench/tiny"


def attack(
    quick: Annotated[bool, typer.Option("--quick", help="one key, less traffic; writes nothing")] = False,
    only: Annotated[str, typer.Option(help="only these, such as A1,A6; writes nothing")] = "",
    keys: Annotated[int, typer.Option(min=1, help="how often everything is encrypted anew and attacked")] = 3,
    noise: Annotated[float, typer.Option(min=0.0, max=1.0, help="relative noise of the configuration `noise`")] = 0.1,
) -> None:
    """Red team: attacks on equivariant encryption by tier and configuration; writes secure/ee/files/red_team.json.

    Example: python -m bench attack --only A1,A5
    """
    torch.set_num_threads(os.cpu_count() or 1)
    chosen = tuple(part.strip().upper() for part in only.split(",") if part.strip())
    effort = replace(suite.QUICK if quick else suite.Effort(keys=keys), only=chosen, noise=noise)
    started = time.perf_counter()
    recipe = Recipe()
    world = tiny_world(recipe, console.print)
    configurations: tuple[Configuration, ...] = get_args(Configuration)
    rows = suite.run(world, configurations, effort, console.print)
    record = {
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
    if not (chosen or quick):
        record["sweep"] = suite.sweep(world, effort, console.print)
        record["other_text"] = suite.other_text(world, effort)
        model = MODEL.format(**asdict(recipe)) + f"; {effort.keys} key{'s' * (effort.keys != 1)}"
        content = verdict.write(rows, noise, model)
        record["verdicts"] = content["verdicts"]
        for tier in TIERS:
            for configuration, cell in content["verdicts"][tier].items():
                console.print(f"{tier} {configuration}: {cell['status']}: {cell['figure']}")
        record["seconds"] = time.perf_counter() - started
        console.print(f"written to bench/results/{results.save('attack', record).name}")
