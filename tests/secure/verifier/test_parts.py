"""Inputs, services, features and the threshold, each by itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from secure.protocols.core.errors import InputError
from secure.verifier.detector import conformal_threshold
from secure.verifier.features import class_features, features
from secure.verifier.inputs import as_inputs, bags, joined, varied
from secure.verifier.services import answers_of, are_probabilities, asked, floored
from secure.verifier.student import Student, plan_for
from secure.verifier.training import weights_of


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("one text", "a list of one"),
        ([], "the first axis counts inputs"),
        (torch.zeros(3), "the first axis counts inputs"),
        (torch.zeros(0, 3), "the first axis counts inputs"),
        ([[1.0], [2.0, 3.0]], "rows of equal length"),
        ([[1.0], [float("inf")]], "not finite"),
        (["text", 3], "numbers"),
        ({"a": 1}, "must be a torch tensor"),
    ],
)
def test_other_inputs_are_refused(given: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        as_inputs(given)


def test_texts_and_numbers_of_any_kind_are_inputs() -> None:
    assert as_inputs(("a", "b")) == ["a", "b"]
    for numbers in (np.eye(3), torch.eye(3, dtype=torch.float64), torch.eye(3).tolist()):
        found = as_inputs(numbers)
        assert isinstance(found, Tensor) and torch.equal(found, torch.eye(3))
    assert joined([["a"], ["b", "c"]]) == ["a", "b", "c"]


@pytest.mark.parametrize("shape", [(50, 7), (50, 1, 9, 8), (50, 3, 4, 4)])
def test_variations_stay_in_the_range_and_differ(shape: tuple[int, ...]) -> None:
    given = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    found = varied(given, torch.Generator().manual_seed(1))
    assert isinstance(found, Tensor) and found.shape == given.shape
    assert given.min() <= found.min() and found.max() <= given.max()
    assert bool((found != given).flatten(1).any(-1).all())
    again = varied(given, torch.Generator().manual_seed(1))
    assert isinstance(again, Tensor) and torch.equal(again, found)


def test_varied_texts_have_some_of_the_words() -> None:
    texts = ["one two three four five six seven eight", "alone"]
    found = [varied(texts, torch.Generator().manual_seed(seed)) for seed in range(9)]
    assert all(set(text.split()) <= set(texts[0].split()) and text for text, _ in found)
    assert any(text != texts[0] for text, _ in found) and all(text == "alone" for _, text in found)


def test_words_go_to_the_same_buckets_on_every_machine() -> None:
    numbers, offsets = bags(["Red, red", ""], 1000)
    assert numbers.tolist() == [734, 455, 455, 683, 266] and offsets.tolist() == [0, 4]


def test_a_model_is_asked_in_batches_with_its_own_tokenizer() -> None:
    asked_for: list[dict[str, Any]] = []

    class Model:
        def __init__(self, tokenizer: Any) -> None:
            self.tokenizer, self.id2label = tokenizer, {0: "short", 1: "long"}

        def __call__(self, **named: Any) -> Any:
            asked_for.append(named)
            given = next(iter(named.values())).flatten(1).float()
            return SimpleNamespace(logits=torch.stack([-given.sum(-1), given.sum(-1)], -1))

    def tokenizer(texts: list[str], *, padding: bool, return_tensors: str) -> dict[str, Tensor]:
        assert padding and return_tensors == "pt"
        return {"input_ids": torch.tensor([[len(text)] for text in texts]), "attention_mask": torch.ones(len(texts), 1)}

    texts = ["x" * (n % 3) for n in range(1, 12)]
    logits = torch.tensor([[-float(len(text)), float(len(text))] for text in texts])
    assert torch.allclose(answers_of(Model(tokenizer), texts), torch.softmax(logits, -1))
    assert [set(named) for named in asked_for] == [{"input_ids", "attention_mask"}] * 2
    assert answers_of(Model(None), torch.zeros(3, 1, 8, 8)).tolist() == [[0.5, 0.5]] * 3
    assert set(asked_for[-1]) == {"pixel_values"}
    with pytest.raises(InputError, match="no tokenizer"):
        answers_of(Model(None), texts)
    embedder = Model(tokenizer)
    type(embedder).__call__ = lambda _, **named: SimpleNamespace(last_hidden_state=torch.zeros(1))
    with pytest.raises(InputError, match="does not classify whole inputs"):
        answers_of(embedder, texts)


def test_rows_that_are_probabilities() -> None:
    rows = torch.tensor([[0.5, 0.5], [1.0, 0.0], [0.999, 0.0], [0.6, 0.6], [1.5, -0.5], [torch.nan, 1.0]])
    assert are_probabilities(rows).tolist() == [True, True, True, False, False, False]
    _, answers = asked(lambda inputs: [[1, 0]] * len(inputs), ["a", "b"])
    assert torch.allclose(answers.sum(-1), torch.ones(2)) and float(answers.min()) > 9e-7


def test_features_are_the_formulas() -> None:
    generator = torch.Generator().manual_seed(5)
    p, q = (floored(torch.softmax(3 * torch.randn(20, 5, generator=generator), -1)) for _ in range(2))
    found = features(p, q)
    assert found.shape == (20, 17) and features(p[:, :2], q[:, :2]).shape == (20, 15)
    a, b = p.double().numpy(), q.double().numpy()
    middle, rows = (a + b) / 2, np.arange(20)
    top, own_top = a.argmax(1), b.argmax(1)
    divergence = lambda x, y: (x * np.log(x / y)).sum(1)  # noqa: E731
    expected = [
        divergence(a, b),
        divergence(b, a),
        (divergence(a, middle) + divergence(b, middle)) / 2,
        np.abs(a - b).max(1),
        np.abs(a - b).sum(1),
        np.log(b[rows, top]),
        np.log(a[rows, own_top]),
        (b > b[rows, top][:, None]).sum(1),
        top == own_top,
        -(a * np.log(a)).sum(1),
        -(b * np.log(b)).sum(1),
        *np.log(-np.sort(-a, 1)[:, :3]).T,
        *np.log(-np.sort(-b, 1)[:, :3]).T,
    ]
    assert np.allclose(found.numpy(), np.stack(expected, 1), atol=1e-4)
    by_class = class_features(p, q).numpy()
    assert by_class.shape == (20, 5, 6) and np.allclose(by_class[..., 0], np.log(a), atol=1e-5)
    assert (by_class[..., 4].argmin(1) == own_top).all() and np.allclose(by_class[rows, own_top, 5], 0)
    # Names of classes carry nothing: moved alike on both sides, they give the same figures.
    order = torch.tensor([3, 1, 4, 0, 2])
    assert torch.allclose(features(p[:, order], q[:, order]), found, atol=1e-5)
    assert float(features(p, p)[:, :5].abs().max()) < 1e-6


def test_the_threshold_holds_its_rate_in_the_mean_of_draws() -> None:
    generator = torch.Generator().manual_seed(6)
    # A uniform score exceeds a threshold t with probability 1 − t.
    rates = [1 - conformal_threshold(torch.rand(99, generator=generator), 0.05) for _ in range(2000)]
    assert sum(rates) / 2000 == pytest.approx(0.05, abs=4 * 0.022 / 2000**0.5)
    assert conformal_threshold(torch.arange(19.0), 0.05) == 18
    with pytest.raises(InputError, match=r"take 19 held-out answers, .* there are 18"):
        conformal_threshold(torch.arange(18.0), 0.05)


@pytest.mark.parametrize(
    "inputs", [torch.zeros(1, 5, 3), torch.zeros(1, 2, 9, 14), ["text"]], ids=["vectors", "images", "texts"]
)
def test_a_network_has_the_weights_that_its_plan_says(inputs: Any) -> None:
    for most in (900, 3000, 40_000, 10**7):
        plan = plan_for(inputs, 3, 50_000 if most < 2000 and isinstance(inputs, list) else most)
        network = Student(plan)
        assert weights_of(network) == plan.weights <= max(most, 50_000)
        assert network(inputs).shape == (1, 3) and network.takes(inputs)
        assert not network.takes(torch.zeros(1, 77))
    with pytest.raises(InputError, match=r"takes \d+ weights"):
        plan_for(inputs, 3, 5)
