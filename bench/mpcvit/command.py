"""python -m bench mpcvit: what a search for plans of a classifier of Fashion-MNIST needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from bench.data import fashion_mnist
from bench.data.fashion_mnist import Part
from bench.mpcvit.teacher import PATCHES, train_teacher

app = typer.Typer(
    no_args_is_help=True,
    help="Fashion-MNIST and a teacher, for secure search and secure distil.\n\nExample: python -m bench mpcvit data",
)
console = Console(highlight=False, soft_wrap=True)
OUT = Path(__file__).parents[1] / "out" / "mpcvit"
Out = Annotated[Path, typer.Option(help="folder for what is written")]


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
    tokens: Annotated[int, typer.Option(help=f"of an image, the class token included: {PATCHES}")] = 17,
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
