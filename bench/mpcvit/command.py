"""python -m bench mpcvit: plans of a classifier of Fashion-MNIST, their accuracy, their seconds, and the record."""

from __future__ import annotations

import itertools
import os
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from transformers.utils import logging as transformers_logging

from bench import results
from bench.data import fashion_mnist
from bench.data.fashion_mnist import Part
from bench.latency.plans import BUSY, lines
from bench.mpcvit import record as records
from bench.mpcvit import seconds, shapes
from bench.mpcvit.agreement import agreement
from bench.mpcvit.campaign import Campaign, Setting, write
from bench.mpcvit.teacher import PATCHES, train_teacher
from secure.models.latency import NETWORKS

app = typer.Typer(
    invoke_without_command=True,
    help=(
        "Plans of heads and layers on Fashion-MNIST: train, compare, measure, record.\n\n"
        "Example: python -m bench mpcvit --seeds 3"
    ),
)
console = Console(highlight=False, soft_wrap=True)
OUT = Path(__file__).parents[1] / "out" / "mpcvit"
Out = Annotated[Path, typer.Option(help="folder for what is written")]
Tokens = Annotated[int, typer.Option(help=f"of an image, the class token included: {PATCHES}")]
Protocols = Annotated[list[str] | None, typer.Option("--protocol", help="one of both; several times")]


@app.callback()
def campaign(
    context: typer.Context,
    out: Out = OUT,
    tokens: Tokens = 17,
    seeds: Annotated[int, typer.Option(min=1, help="teachers, each with students of its own")] = 3,
    teacher_epochs: Annotated[int, typer.Option(min=1, help="of training a teacher")] = 20,
    search_epochs: Annotated[int, typer.Option(min=1, help="of training the network of all plans")] = 5,
    epochs: Annotated[int, typer.Option(min=1, help="of training a student")] = 5,
    children: Annotated[int, typer.Option(min=0, help="plans that the search tries after its path")] = 200,
    threads: Annotated[int, typer.Option(min=1, help="that train; another number gives other last digits")] = 1,
    images: Annotated[int, typer.Option(min=1, help="that answers on shares are compared for")] = 2000,
) -> None:
    """Train teachers, search, distil all plans, compare answers on shares, and write what there is as a record.

    Whatever was stopped goes on from where it was, by seed and plan. Seconds are measured by `mpcvit measure`, on a
    machine that has nothing else to do.
    """
    if context.invoked_subcommand is not None:
        return
    results.commit()  # files may change while it goes on
    torch.set_num_threads(threads)
    data = fashion_mnist.load()
    setting = Setting(tokens, teacher_epochs, search_epochs, epochs, children)
    begun = Campaign.begin(out, setting)
    for seed in range(setting.seed, setting.seed + seeds):
        begun.train(data, seed, console.print)
        if seed == setting.seed:
            _agree(begun, data.test, seconds.PROTOCOLS[:1], images)
    _save(begun)


@app.command("data")
def write_data(out: Out = OUT) -> None:
    """Write train.npz, for secure search and secure distil, and test.npz, from Debian's package of Fashion-MNIST.

    Example: python -m bench mpcvit data
    """
    found = fashion_mnist.load()
    out.mkdir(parents=True, exist_ok=True)
    for name, part in (("train", found.train), ("test", found.test)):
        np.savez(out / f"{name}.npz", inputs=part.images.numpy(), labels=part.labels.numpy())
        console.print(f"{len(part):,} images in {out / name}.npz")


@app.command("teacher")
def make_teacher(
    out: Out = OUT,
    tokens: Tokens = 17,
    epochs: Annotated[int, typer.Option(min=1, help="of training")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="of weights and batches")] = 0,
) -> None:
    """Train a softmax teacher on Fashion-MNIST and write it as a checkpoint; says its accuracy on the test images.

    Example: python -m bench mpcvit teacher --tokens 50 --epochs 40
    """
    found = fashion_mnist.load()
    folder = out / f"teacher-{tokens}-{seed}"
    tests: Part = found.test
    share = train_teacher(found.train, tests, folder, tokens=tokens, epochs=epochs, seed=seed, say=console.print)
    console.print(f"{share:.2%} of {len(tests):,} test images; the checkpoint is in {folder}")


@app.command("agree")
def compare(
    out: Out = OUT,
    tokens: Tokens = 17,
    protocol: Protocols = None,
    images: Annotated[int, typer.Option(min=1, help="of the test images, the first ones")] = 2000,
) -> None:
    """Compare answers on shares with those in the clear, of the first seed's students, and renew the record.

    Example: python -m bench mpcvit agree --protocol replicated
    """
    results.commit()
    begun = Campaign.kept(out, tokens)
    _agree(begun, fashion_mnist.load().test, protocol or seconds.PROTOCOLS, images)
    _save(begun)


@app.command("measure")
def measure(
    out: Out = OUT,
    tokens: Tokens = 17,
    protocol: Protocols = None,
    network: Annotated[list[str] | None, typer.Option(help="one of all; several times")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="sessions of each plan, after a warm-up")] = 5,
    again: Annotated[bool, typer.Option("--again", help="what was measured already, too")] = False,
) -> None:
    """Measure a session with one image by processes: every plan, on every network, by both protocols.

    It wants a machine that has nothing else to do, and says when it has. The record is renewed after each network.

    Example: python -m bench mpcvit measure --network wan
    """
    results.commit()
    begun = Campaign.kept(out, tokens)
    checkpoints, image = records.first_checkpoints(begun), fashion_mnist.load().test.images[0]
    if os.getloadavg()[0] > BUSY:
        console.print(f"[yellow]the load average is {os.getloadavg()[0]:.2f}: this machine is busy[/yellow]")
    for each in protocol or seconds.PROTOCOLS:
        for name in network or NETWORKS:
            where = "measured", f"{each}-{name}.json"
            if begun.part(*where) is None or again:
                begun.keep(seconds.measure(checkpoints, each, name, image, repeats, console), *where)
                _save(begun)
            found = records.predictor(begun, each, name)
            if found is not None:
                console.print(f"{each}, {name}:", *lines(found), sep="\n  ")


@app.command("shapes")
def measure_shapes(
    out: Out = OUT,
    shape: Annotated[list[str] | None, typer.Option(help=f"one of {', '.join(shapes.SHAPES)}; several times")] = None,
    protocol: Protocols = None,
    network: Annotated[list[str] | None, typer.Option(help="one of all; several times")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="sessions of each plan, after a warm-up")] = 2,
    measured: Annotated[bool, typer.Option(help="by processes; without it, predicted seconds alone")] = True,
    again: Annotated[bool, typer.Option("--again", help="what was measured already, too")] = False,
) -> None:
    """Price and measure the shapes of the paper's two networks, with random weights, and write them as a record.

    What was measured already is kept; `--out` says where. It wants a machine that has nothing else to do. At the end
    it says how well every plan's seconds are told by what is fitted to others.

    Example: python -m bench mpcvit shapes --shape cifar --network wan --protocol beaver
    """
    results.commit()
    transformers_logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as scratch:
        made = {each: shapes.checkpoints(each, Path(scratch)) for each in shapes.SHAPES}
        if measured:
            for each in shape or shapes.SHAPES:
                for role, name in itertools.product(protocol or seconds.PROTOCOLS, network or NETWORKS):
                    path = out / "shapes" / f"{each}-{role}-{name}.json"
                    if again or not path.is_file():
                        found = seconds.measure(made[each], role, name, shapes.image(each), repeats, console)
                        write(path, found)
        record = shapes.record(made, out / "shapes")
        path = results.save("mpcvit-shapes", record)
    for (each, role, name), found in shapes.predictor(record).items():
        console.print(f"{each}, {role}, {name}:", *lines(found), sep="\n  ")
    console.print(f"written to bench/results/{path.name}")


@app.command("record")
def renew_record(out: Out = OUT, tokens: Tokens = 17) -> None:
    """Write the record of what is done so far.

    Example: python -m bench mpcvit record
    """
    _save(Campaign.kept(out, tokens))


def _agree(begun: Campaign, tests: Part, protocols: list[str] | tuple[str, ...], images: int) -> None:
    for protocol in protocols:
        for name, folder in records.first_checkpoints(begun).items():
            where = "agreement", f"{name}-{protocol}.json"
            if begun.part(*where) is None:
                begun.keep(agreement(folder, tests.images[:images], protocol), *where)
                found = begun.part(*where)
                console.print(
                    f"{name}, {protocol}: {found['agree']:,} of {found['images']:,} agree, logits at most "
                    f"{found['largest_difference']:.1e} off, {found['processor_seconds']:.0f} s of a processor"
                )


def _save(begun: Campaign) -> None:
    path = results.save(records.name_of(begun), records.record(begun))
    console.print(f"written to bench/results/{path.name}")
