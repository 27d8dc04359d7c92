"""The small network that a verifier computes itself, and its training on what a service answers (distillation).

It has one hidden layer on vectors, two convolutions on images, and one hidden layer on hashed words of texts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from secure.protocols.core.errors import InputError
from secure.verifier.inputs import Inputs, bags, chosen, is_image
from secure.verifier.training import fit, fresh

InputKind = Literal["vectors", "images", "texts"]

_MOST_HIDDEN: dict[InputKind, int] = {"vectors": 256, "images": 16, "texts": 64}
_MOST_BUCKETS = 2**15
_BATCH = 128
_LEARNING_RATE = 3e-3
_OF_LOGITS = 0.05
"""Weight of the logits' squares beside the cross-entropy: they carry what the service says of unlikely classes."""
_LEAST_DEVIATION = 1e-2
"""Numbers that hardly vary, like the margins of images, are not blown up to unit variance."""


@dataclass(frozen=True)
class StudentPlan:
    """Everything that fixes the network's shape. `shape` is that of one input, empty for texts."""

    kind: InputKind
    shape: tuple[int, ...]
    hidden: int
    buckets: int
    classes: int

    @property
    def weights(self) -> int:
        """How many numbers are trained."""
        if self.kind == "texts":
            return self.buckets * self.hidden + (self.hidden + 1) * self.classes
        if self.kind == "vectors":
            return (math.prod(self.shape) + 1) * self.hidden + (self.hidden + 1) * self.classes
        channels = self.shape[0]
        convolutions = (9 * channels + 1) * self.hidden + (9 * self.hidden + 1) * 2 * self.hidden
        return convolutions + (self.pooled + 1) * self.classes

    @property
    def pooled(self) -> int:
        """Numbers that are left of an image after both convolutions, each of which halves its sides."""
        _, height, width = self.shape
        return 2 * self.hidden * (height // 4) * (width // 4)


def plan_for(inputs: Inputs, classes: int, most_weights: int) -> StudentPlan:
    """The largest network for these inputs within a number of weights. Raises InputError where not even one fits."""
    shape: tuple[int, ...] = tuple(inputs.shape[1:]) if isinstance(inputs, Tensor) else ()
    kind: InputKind = "images" if is_image(inputs) else "vectors" if shape else "texts"
    most = _MOST_HIDDEN[kind]
    plans = [
        # Few hidden units go with few buckets: words that share a bucket cost more than units that are missing.
        StudentPlan(kind, shape, hidden, _MOST_BUCKETS * hidden // most if kind == "texts" else 0, classes)
        for hidden in range(1, most + 1)
    ]
    fitting = [plan for plan in plans if plan.weights <= most_weights]
    if not fitting:
        raise InputError(
            f"a verifier of these inputs and classes takes {plans[0].weights} weights for its network or more"
        )
    return fitting[-1]


class Student(nn.Module):
    """Inputs to logits. Shapes: inputs [N, ...] or N texts -> float32 [N, classes]."""

    def __init__(self, plan: StudentPlan) -> None:
        super().__init__()
        self.plan = plan
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(plan.shape))
        self.register_buffer("deviation", torch.ones(plan.shape))
        self.body: nn.Module
        head = plan.hidden
        if plan.kind == "texts":
            self.body = nn.EmbeddingBag(plan.buckets, plan.hidden, mode="mean")
        elif plan.kind == "vectors":
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(plan.shape), plan.hidden))
        else:
            head = plan.pooled
            self.body = nn.Sequential(
                nn.Conv2d(plan.shape[0], plan.hidden, 3, padding=1),
                nn.MaxPool2d(2),
                nn.ReLU(),
                nn.Conv2d(plan.hidden, 2 * plan.hidden, 3, padding=1),
                nn.MaxPool2d(2),
                nn.Flatten(),
            )
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(head, plan.classes))

    def forward(self, inputs: Inputs) -> Tensor:
        """The logits."""
        if isinstance(inputs, Tensor):
            hidden = self.body((inputs - self.mean) / self.deviation)
        else:
            hidden = self.body(*bags(inputs, self.plan.buckets))
        logits: Tensor = self.head(hidden)
        return logits

    def takes(self, inputs: Inputs) -> bool:
        """Whether inputs are of the kind and shape that it was trained on."""
        return self.plan.shape == (tuple(inputs.shape[1:]) if isinstance(inputs, Tensor) else ())

    def fit_scale(self, inputs: Tensor) -> None:
        """Take means and deviations from inputs, those of images from all their points alike."""
        over = (0,) if self.plan.kind == "vectors" else (0, 2, 3)
        for kept, found in (
            (self.mean, inputs.mean(over, keepdim=True)),
            (self.deviation, inputs.std(over, keepdim=True).clamp_min(_LEAST_DEVIATION)),
        ):
            kept.copy_(found[0].expand(self.plan.shape))


def distilled(plan: StudentPlan, inputs: Inputs, answers: Tensor, steps: int, generator: torch.Generator) -> Student:
    """A network trained to answer as the service did: cross-entropy with its probabilities, and its logits' squares.

    Shapes: answers float32 [N, classes], probabilities above 0.
    """
    student = fresh(lambda: Student(plan), generator)
    if isinstance(inputs, Tensor):
        student.fit_scale(inputs)
    logits = _centred(answers.log())

    def loss(rows: Tensor) -> Tensor:
        said = student(chosen(inputs, rows))
        squares = (_centred(said) - logits[rows]).square().mean()
        return nn.functional.cross_entropy(said, answers[rows]) + _OF_LOGITS * squares

    fit(student, loss, len(inputs), generator, steps=steps, batch=_BATCH, learning_rate=_LEARNING_RATE)
    return student.eval()


def _centred(logits: Tensor) -> Tensor:
    """Logits without their mean, which no softmax sees. Shapes: [N, C] -> [N, C]."""
    return logits - logits.mean(-1, keepdim=True)
