"""python -m bench accuracy: a classifier of texts on shares and in the clear, right answers counted."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import secure
from bench import results
from bench.accuracy.classifier import Task, tokens, trained
from bench.data.labelled import package_descriptions
from secure.protocols.core.errors import ConfigurationError
from secure.protocols.families import DEFAULT

console = Console(highlight=False, soft_wrap=True)
INCLUDES = (
    "all-MiniLM-L6-v2 trained further to tell 10 sections, of 1 to 32 tokens a text, padded in batches; parties as "
    "processes on this machine, gRPC with mutual TLS; private weights and inputs; the float model is transformers' in "
    "float32"
)
_BATCH = 25


def accuracy(
    examples: Annotated[int, typer.Option(min=1, help="texts to test with")] = 500,
    train: Annotated[
        int, typer.Option(min=100, help="texts to train the classifier with, where it is not kept")
    ] = 6000,
    epochs: Annotated[int, typer.Option(min=1, help="of training it")] = 2,
    protocol: Annotated[
        list[str] | None, typer.Option(help="beaver, replicated or witnessed; more than once for several")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="of the texts' parts and of the training")] = 0,
    save: Annotated[bool, typer.Option(help="write bench/results")] = True,
) -> None:
    """Accuracy on a task through the protocol: a text classifier's right answers on shares and in the clear.

    Example: python -m bench accuracy --protocol beaver --protocol replicated

    The texts are names and descriptions of Debian's packages, in ten of its sections, as apt lists them here.
    """
    results.commit()
    data = package_descriptions(named=True)
    try:
        task = Task.of(data, train, examples, seed)
    except ValueError as error:
        raise ConfigurationError(f"{error}: say fewer --examples or --train") from None
    folder = trained(task, epochs, seed, console.print)
    due = _in_the_clear(folder, task)
    rows = [_compared(name, folder, task, due) for name in protocol or [DEFAULT.name]]
    record: dict[str, Any] = {
        "kind": "accuracy",
        "model": "all-MiniLM-L6-v2 with a classifier",
        "data": {"source": task.source, "sha256": task.digest, "train": train, "examples": examples},
        "setting": {"epochs": epochs, "seed": seed, "batch": _BATCH},
        "includes": INCLUDES,
        "right_in_the_clear": _right(due, task.test_labels),
        "rows": rows,
    }
    if save:
        console.print(f"written to bench/results/{results.save('accuracy', record).name}")


def _in_the_clear(folder: Path, task: Task) -> Tensor:
    model, tokenizer = (each.from_pretrained(folder) for each in (AutoModelForSequenceClassification, AutoTokenizer))
    with torch.inference_mode():
        parts = [model.eval()(**tokens(tokenizer, part)).logits for part in _batches(task)]
    return torch.cat(parts)


def _compared(protocol: str, folder: Path, task: Task, due: Tensor) -> dict[str, Any]:
    """A protocol's answers beside those that are due, with the seconds of all of them."""
    found, load_before = [], os.getloadavg()[0]
    with secure.launch(protocol=protocol) as parties:
        model = secure.PrivateModel.from_pretrained(folder, parties=parties, progress=False)
        began = time.perf_counter()
        for part in _batches(task):
            found.append(model(**tokens(model.tokenizer, part)).logits)
            console.print(f"{protocol}: {sum(map(len, found))} of {len(due)} texts")
        seconds = time.perf_counter() - began
    row = {"protocol": protocol, "seconds": seconds, "load_average": [load_before, os.getloadavg()[0]]}
    row |= beside(torch.cat(found), due, task.test_labels)
    console.print(
        f"{protocol}: {row['right']} of {len(due)} right, {_right(due, task.test_labels)} in the clear; "
        f"{row['agree']} answers agree, logits within {row['largest_difference']:.1e}"
    )
    return row


def beside(found: Tensor, due: Tensor, labels: Tensor) -> dict[str, Any]:
    """How many logits' largest are the label, and that of the logits due, and how far they differ. Shapes: [N, C], [N].

    narrowest_margin: the least by which a due logit is above the next one, in an answer that agrees, None without one.
    """
    chosen, first = found.argmax(-1), due.argmax(-1)
    largest = due.topk(2).values
    margins = (largest[:, 0] - largest[:, 1])[chosen == first]
    return {
        "right": _right(found, labels),
        "agree": int((chosen == first).sum()),
        "largest_difference": float((found - due).abs().max()),
        "mean_difference": float((found - due).abs().mean()),
        "narrowest_margin": float(margins.min()) if len(margins) else None,
    }


def _right(logits: Tensor, labels: Tensor) -> int:
    return int((logits.argmax(-1) == labels).sum())


def _batches(task: Task) -> list[list[str]]:
    return [list(task.test[start : start + _BATCH]) for start in range(0, len(task.test), _BATCH)]
