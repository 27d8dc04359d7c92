"""What every other device computes, computed on the CPU: plain torch in place of compiled loops, the same bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from bench.gpu import equality
from bench.gpu.reference import last_hidden_state
from bench.gpu.roles import Outcome
from secure.models.families.bert import BertConfig
from secure.protocols.core import factor, ring
from secure.protocols.core.cost import JOINED
from secure.protocols.core.kernels import dispatch
from secure.protocols.masked.gate import Gate
from tests.gpu.gates import CASES, run_gate
from tests.protocols.core.test_ring import random_words

CPU = torch.device("cpu")
PROGRAMS = equality.cases()


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From here on as on a card: no compiled loops, matrices as digits."""

    def change() -> None:
        monkeypatch.setattr(dispatch, "form_for", lambda device: "plain")
        monkeypatch.setattr(factor, "multiplies_bytes", lambda device: True)

    return change


@pytest.mark.parametrize(("gate", "label", "shapes"), CASES)
def test_a_gate_is_the_same_without_kernels(
    gate: type[Gate[Any]], label: str, shapes: tuple[tuple[int, ...], ...], plain: Callable[[], None]
) -> None:
    due = run_gate(gate, label, shapes, CPU)
    plain()
    assert equality.compared("", [due], [run_gate(gate, label, shapes, CPU)]).equal


@pytest.mark.parametrize("run", [run for _, run in PROGRAMS], ids=[name for name, _ in PROGRAMS])
def test_a_program_is_the_same_without_kernels(
    run: Callable[[torch.device], list[Outcome]], plain: Callable[[], None]
) -> None:
    due = run(CPU)
    plain()
    found = equality.compared("", due, run(CPU))
    assert found.equal and found.bytes > 0


def test_a_difference_is_noticed() -> None:
    """The comparison itself: one share or one message off by one bit."""
    name, run = PROGRAMS[1]
    due, found = run(CPU), run(CPU)
    assert equality.compared(name, due, found).equal
    found[0].results["p1"][0] = found[0].results["p1"][0] ^ 1
    assert not equality.compared(name, due, found).equal
    found = run(CPU)
    found[0].sent["dealer"][0] = found[0].sent["dealer"][0][:-1] + b"\x00"
    due[0].sent["dealer"][0] = due[0].sent["dealer"][0][:-1] + b"\x01"
    assert not equality.compared(name, due, found).equal


def test_the_programs_run_every_gate() -> None:
    run = {gate for _, run in PROGRAMS for outcome in run(CPU) for _, gate in outcome.meters["p1"].rows}
    assert run - {JOINED} == equality.every_gate()


@pytest.mark.parametrize(
    ("left", "right"), [((1, 1), (1, 1)), ((3, 9), (9, 5)), ((2, 3, 9), (2, 9, 5)), ((2, 1, 3, 9), (4, 9, 2))]
)
@pytest.mark.parametrize("bits", [64, 48, 47, 32, 20])
def test_products_by_limbs(left: tuple[int, ...], right: tuple[int, ...], bits: int) -> None:
    a, b = random_words(*left), random_words(*right, seed=1)
    assert torch.equal(ring.low(ring.matmul.plain(a, b, bits), bits), ring.low(torch.matmul(a, b), bits))


def test_long_sums_of_limbs_are_exact() -> None:
    """The largest limbs, in more terms than a float64 adds up without rounding."""
    inner = 2**19 + 5
    a, b = torch.full((2, inner), -1), torch.full((inner, 3), -1)
    assert torch.equal(ring.matmul.plain(a, b), torch.full((2, 3), inner))


def test_the_float_model_is_transformers_own() -> None:
    """The reference of the error on a card, where transformers may be missing."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(1)
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=40,
        max_position_embeddings=16,
    )
    whole = transformers.BertModel(config).double().eval()
    ids = torch.randint(0, 50, (2, 9))
    found = last_hidden_state(BertConfig.from_hugging_face(config.to_dict()), dict(whole.named_parameters()), ids)
    with torch.inference_mode():
        assert float((found - whole(input_ids=ids).last_hidden_state).abs().max()) < 1e-12
