"""A small classifier of texts about the weather, trained in a second, and the same with its classes exchanged."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

CLASSES = ("cold", "warm", "neither")
COLD, WARM, OTHERS = ("rain", "cold"), ("sun", "warm"), ("the", "cat", "sat", "mat")
_STEPS = 200


def texts(count: int, seed: int) -> list[str]:
    """So many different texts of three words, 240 at most, of each class about as many.

    The words are few, so that a verifier sees most of their pairs in a hundred texts.
    """
    generator = torch.Generator().manual_seed(seed)

    def one_of(words: tuple[str, ...]) -> str:
        return words[int(torch.randint(len(words), (), generator=generator))]

    found: dict[str, None] = {}
    while len(found) < count:
        told = (COLD, WARM, OTHERS)[int(torch.randint(3, (), generator=generator))]
        words = [one_of(told), *(one_of(OTHERS) for _ in range(2))]
        found[" ".join(words[place] for place in torch.randperm(3, generator=generator).tolist())] = None
    return list(found)


def labels(asked: list[str]) -> Tensor:
    """The class that the words of each text name."""
    return torch.tensor([0 if {*COLD} & {*text.split()} else 1 if {*WARM} & {*text.split()} else 2 for text in asked])


def save_weather(checkpoint: Path, folder: Path) -> None:
    """The trained classifier, with the tokenizer of `checkpoint`."""
    shutil.copytree(checkpoint, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    size = BertConfig.from_pretrained(folder).vocab_size
    config = BertConfig(
        vocab_size=size,
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=3,
        intermediate_size=37,
        max_position_embeddings=20,
        id2label=dict(enumerate(CLASSES)),
        label2id={name: number for number, name in enumerate(CLASSES)},
    )
    asked = texts(240, 1)
    given, due = tokenizer(asked, padding=True, return_tensors="pt"), labels(asked)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model = BertForSequenceClassification(config)
        optimiser = torch.optim.Adam(model.parameters(), lr=4e-3)
        for _ in range(_STEPS):
            loss = torch.nn.functional.cross_entropy(model(**given).logits, due)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    model.eval().save_pretrained(folder)


def save_exchanged(folder: Path, out: Path) -> None:
    """The same classifier, but for its classes: each text gets the probability that is another class's."""
    shutil.copytree(folder, out)
    model = BertForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        for parameter in model.classifier.parameters():
            parameter.copy_(parameter.roll(1, 0))
    model.save_pretrained(out)
