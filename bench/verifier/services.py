"""Services to be verified, trained here from labels, and the models that take their place."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from bench.data.labelled import Labelled, digits, fashion_mnist, package_descriptions
from secure.verifier.inputs import Inputs, bags, chosen, varied

_BATCH = 128
_LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Kind:
    """One measurement: data, how many inputs go to the service's and the verifier's making, and both models.

    The rest, or `test` of it, is what the verifier is measured on.
    """

    data: Callable[[], Labelled]
    train: int
    verifier: int
    test: int
    service: Callable[[], nn.Module]
    smaller: Callable[[], nn.Module]
    epochs: int
    varied: int
    """Changed copies of each labelled input that the service is trained on."""
    variations: int
    """Of the verifier's."""


class Texts(nn.Module):
    """Texts to logits, by the mean of their words' vectors."""

    def __init__(self, buckets: int, width: int, classes: int) -> None:
        super().__init__()
        self.buckets = buckets
        self.words = nn.EmbeddingBag(buckets, width, mode="mean")
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(width, classes))

    def forward(self, texts: Inputs) -> Tensor:
        """The logits."""
        assert not isinstance(texts, Tensor)
        logits: Tensor = self.head(self.words(*bags(texts, self.buckets)))
        return logits


def _perceptron(*widths: int) -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _convolutions(first: int, last: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, first, 3, padding=1),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(first, 2 * first, 3, padding=1),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * first * 49, last),
        nn.ReLU(),
        nn.Linear(last, 10),
    )


KINDS = {
    "digits": Kind(
        digits, 500, 900, 397, lambda: _perceptron(64, 128, 64, 10), lambda: _perceptron(64, 16, 10), 40, 4, 6
    ),
    "fashion-mnist": Kind(
        fashion_mnist, 20_000, 24_000, 5000, lambda: _convolutions(16, 128), lambda: _convolutions(4, 16), 4, 0, 1
    ),
    "texts": Kind(
        package_descriptions, 5000, 6000, 2000, lambda: Texts(2**15, 64, 10), lambda: Texts(2**12, 16, 10), 15, 0, 3
    ),
    "named-texts": Kind(
        partial(package_descriptions, named=True),
        5000,
        6000,
        2000,
        lambda: Texts(2**15, 64, 10),
        lambda: Texts(2**12, 16, 10),
        15,
        0,
        3,
    ),
}


def trained(
    make: Callable[[], nn.Module], inputs: Inputs, labels: Tensor, kind: Kind, generator: torch.Generator
) -> nn.Module:
    """A model that classifies as the labels say."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        model = make()
    copies = [inputs, *(varied(inputs, generator) for _ in range(kind.varied))]
    optimiser = torch.optim.Adam(model.parameters(), lr=_LEARNING_RATE)
    for _ in range(kind.epochs):
        for copy in copies:
            for rows in torch.randperm(len(labels), generator=generator).split(_BATCH):
                loss = nn.functional.cross_entropy(model(chosen(copy, rows)), labels[rows])
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
    return model.eval()


def served(model: nn.Module) -> Callable[[Inputs], Tensor]:
    """The model as a service: inputs to probabilities, in batches that fit a processor's cache."""

    def service(inputs: Inputs) -> Tensor:
        with torch.inference_mode():
            parts = [model(chosen(inputs, rows)) for rows in torch.arange(len(inputs)).split(_BATCH)]
            return torch.softmax(torch.cat(parts), -1).clone()

    return service
