"""python -m bench audit: what one canary finds, false alarms among honest answers, and what is not found."""

from __future__ import annotations

import copy
import math
import random
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer
from rich.console import Console
from torch import nn

import secure
from bench import results
from bench.audit.substitutes import SUBSTITUTES, another_row, trained_further
from bench.tiny import corpus, grammar
from bench.tiny.train import checkpoint
from secure.audit.canaries import LEAST_NOISE, MARGIN, Asked, Canaries, prepare
from secure.audit.compare import Answer, Kind, distance
from secure.audit.models import AuditedModel, ClearModel
from secure.demo.sample import model_folder
from secure.ee.client.answers import EncryptedAnswers
from secure.ee.client.open_runner import open_runner
from secure.ee.files.checkpoint import open_checkpoint
from secure.ee.owner.encrypt import encrypt_checkpoint
from secure.protocols.equivariant.key import Key

console = Console(highlight=False, soft_wrap=True)
NOISE = 24
"""Texts on which honest noise is measured: what the commands take by default."""
_SEED = 5
_CHARACTERS = 3_000_000
_PART = 64
_STEPS = 20

Name = Literal["minilm", "tiny", "minilm-private"]


def audit(
    name: Annotated[
        Name, typer.Argument(help="an encrypted encoder or language model, or a private encoder")
    ] = "minilm",
    measured: Annotated[int, typer.Option(min=8, help="honest answers that are computed to count false alarms")] = 500,
    drawn: Annotated[int, typer.Option(min=100, help="further ones, drawn from a distribution as wide")] = 10_000,
    canaries: Annotated[int, typer.Option(min=10, help="canaries that each other model is asked")] = 100,
) -> None:
    """Honest noise, the threshold, false alarms, and which other models one canary finds.

    SmolLM2 cannot be had here; in its place stands the tiny LLaMA that bench trains.

    Example: python -m bench audit tiny
    """
    results.commit()
    folder = checkpoint("base") if name == "tiny" else model_folder()
    clear = ClearModel(folder)
    texts = given_texts(clear.kind, NOISE + canaries + measured)
    with private(folder, clear) if name == "minilm-private" else encrypted(folder, clear) as served:
        made = prepare(clear.kind, texts[: NOISE + canaries], clear, served, noise_texts=NOISE)
        found = distances(clear.kind, texts[NOISE + canaries :], clear, served)
    record = {
        "noise_texts": len(made.noise),
        "largest_noise": max(made.noise),
        "threshold": made.threshold,
        "canaries": len(made.canaries),
        "computed": counted(found, made.threshold),
        "drawn": counted(as_wide([*made.noise, *found], drawn), made.threshold),
        "rows": judged(clear, made),
    }
    record |= {"kind": "audit", "model": name, "margin": MARGIN, "threads": torch.get_num_threads()}
    for each in record["rows"]:
        shown = f"least {each['least']:.1e}  median {each['median']:.1e}  found {each['found']:.1%}"
        console.print(f"{each['name']:48} {shown}")
    console.print(f"threshold {record['threshold']:.1e}; computed {record['computed']}, drawn {record['drawn']}")
    console.print(f"written to bench/results/{results.save(f'audit-{name}', record).name}")


@contextmanager
def encrypted(folder: Path, clear: ClearModel) -> Iterator[Asked]:
    """A server of an encrypted checkpoint, whose engine runs in this process."""
    with tempfile.TemporaryDirectory() as scratch:
        out, key = Path(scratch) / "encrypted", Key(bytes(range(32)))
        encrypt_checkpoint(folder, key, out, assume="none")
        opened = open_checkpoint(out, key)
        runner = open_runner(opened, None, None, "cpu")
        yield EncryptedAnswers(opened, runner, clear.kind)
        runner.close()


@contextmanager
def private(folder: Path, clear: ClearModel) -> Iterator[Asked]:
    """Three parties on shares, in processes of their own."""
    with secure.launch() as parties:
        yield AuditedModel(secure.PrivateModel.from_pretrained(folder, parties=parties, head=False), clear.kind)


def counted(found: Sequence[float], threshold: float) -> dict[str, Any]:
    """How many honest answers there are, how many are false alarms, and the largest distance."""
    return {
        "honest": len(found),
        "false_alarms": sum(not each <= threshold for each in found),
        "largest": max(found),
        "median": statistics.median(found),
    }


def as_wide(measured: Sequence[float], count: int) -> list[float]:
    """Distances of further honest answers, not computed but drawn: their logarithm is normal, with the mean and the
    spread of the measured ones' logarithms.
    """
    logarithms = [math.log(max(each, LEAST_NOISE * 1e-3)) for each in measured]
    drawn = random.Random(_SEED)
    mean, spread = statistics.fmean(logarithms), statistics.stdev(logarithms)
    return [math.exp(drawn.gauss(mean, spread)) for _ in range(count)]


def judged(clear: ClearModel, made: Canaries) -> list[dict[str, Any]]:
    """What each other model answers to all canaries, and in which share of them one canary shows it."""
    others: dict[str, nn.Module] = {name: change(clear.model) for name, change in SUBSTITUTES.items()}
    rows = [row(name, clear, model, made) for name, model in others.items()]
    if clear.kind == "next_token":
        texts = list(corpus.sessions("private")[:_STEPS])
        other = trained_further(clear.tokenizer, texts, _STEPS)(clear.model)
        rows.append(row(f"another checkpoint: {_STEPS} steps of training later", clear, other, made))
    token, standing = rare_token(clear, made)
    name = f"one token's embedding exchanged, in {standing} of {len(made.canaries)} canaries"
    rows.append(row(name, clear, another_row(token)(clear.model), made))
    return rows


def row(name: str, clear: ClearModel, model: nn.Module, made: Canaries) -> dict[str, Any]:
    """Distances of another model's answers, computed in the clear."""
    other = copy.copy(clear)
    other.model = model
    answers = other([canary.text for canary in made.canaries])
    found = [distance(made.kind, canary.answer, answer) for canary, answer in zip(made.canaries, answers, strict=True)]
    shares = sum(not each <= made.threshold for each in found) / len(found)
    return {"name": name, "least": min(found), "median": statistics.median(found), "found": shares}


def rare_token(clear: ClearModel, made: Canaries) -> tuple[int, int]:
    """The token that stands in the fewest canaries, and in how many. No special one: the row of padding is zero."""
    special = set(clear.tokenizer.all_special_ids)
    rows: list[set[int]] = [set(clear.tokenizer(canary.text)["input_ids"]) - special for canary in made.canaries]
    counts = Counter(token for ids in rows for token in ids)
    token = min(counts, key=lambda each: (counts[each], each))
    return token, counts[token]


def distances(kind: Kind, texts: Sequence[str], true: Asked, served: Asked) -> list[float]:
    """Distances of honest answers, computed in parts, so that no more than a part is in memory."""
    found: list[float] = []
    for start in range(0, len(texts), _PART):
        part = texts[start : start + _PART]
        pairs: zip[tuple[Answer, Answer]] = zip(true(part), served(part), strict=True)
        found += [distance(kind, *pair) for pair in pairs]
        if start % (4 * _PART) == 0:
            console.print(f"{len(found)} of {len(texts)} honest answers, the largest distance {max(found):.1e}")
    return found


def given_texts(kind: Kind, count: int) -> list[str]:
    """So many different texts: sentences; or the beginnings of chats, which a language model goes on with."""
    drawn = random.Random(_SEED)
    if kind == "next_token":
        sessions = corpus.sessions("traffic", _CHARACTERS)
        texts = [text.removeprefix(corpus.opening()) for text in sessions]
        found = [text[: drawn.randint(low, low + 60)] for text in texts for low in (20, 80)]
    else:
        documents = grammar.documents(_SEED, _CHARACTERS, private=False)
        found = [sentence for document in documents for sentence in document.split(". ") if len(sentence) > 8]
    different = list(dict.fromkeys(found))
    if len(different) < count:
        raise secure.errors.InputError(f"there are {len(different)} different texts, {count} are needed")
    return drawn.sample(different, count)
