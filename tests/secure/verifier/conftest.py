"""A service that needs no training, and one verifier of it that the tests share."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from secure.verifier.verifier import Verifier

CLASSES, WIDTH = 4, 6


def points(count: int, seed: int) -> Tensor:
    """Points round the centres of the classes, each equally likely."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randint(CLASSES, (count,), generator=generator)
    return 2.5 * torch.eye(CLASSES, WIDTH)[centres] + torch.randn((count, WIDTH), generator=generator)


def service(asked: Tensor) -> Tensor:
    """The probability of each centre, as Bayes' theorem gives it."""
    return torch.softmax(-torch.cdist(asked, 2.5 * torch.eye(CLASSES, WIDTH)).square() / 2, -1)


@pytest.fixture(scope="session")
def verifier() -> Verifier:
    """It has a network of 16 hidden units and 5 % false alarms."""
    return Verifier.distil(
        service, points(600, 1), weights=16 * (WIDTH + CLASSES + 1) + 800, false_alarms=0.05, variations=1, steps=500
    )
