"""GPT-2 on shares and in the clear against transformers: whole inputs, and steps with a cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from secure.models.checkpoint.conversion import read_checkpoint
from secure.models.contract.request import Output, Request
from secure.models.program import network
from secure.protocols.core.cost import Cost
from secure.protocols.core.errors import CheckpointError, InputError
from tests.models.decoders import forward, padded_at_the_start, plain, save_decoder, words
from tests.models.runs import clear_run, clear_steps, client_inputs, secure_run, secure_steps
from tests.sampling import product_of

SECURE_ERROR = 3e-3  # of logits of about three: two layers of GeLU, softmax and fixed point
CLEAR_ERROR = 1e-3  # rounding of weights and inputs to 2^-16 alone

CASES: dict[str, tuple[dict[str, Any], int, int, bool]] = {
    "one-token": ({}, 1, 1, False),
    "odd": ({}, 1, 7, False),
    "batch-padded": ({}, 3, 6, True),
    "longest": ({}, 1, 20, False),
    "one-layer-one-head": ({"n_layer": 1, "n_head": 1}, 2, 5, True),
    "inner": ({"n_inner": 31}, 1, 4, False),
    "untied": ({"tie_word_embeddings": False}, 1, 4, False),
    "unscaled": ({"scale_attn_weights": False}, 1, 4, False),
    "scaled-by-layer": ({"scale_attn_by_inverse_layer_idx": True}, 1, 4, False),
    "exact-gelu": ({"activation_function": "gelu"}, 1, 4, False),
    "relu": ({"activation_function": "relu"}, 1, 4, False),
    "silu": ({"activation_function": "silu"}, 1, 4, False),
    "other-epsilon": ({"layer_norm_epsilon": 1e-3}, 1, 4, False),
}


@product_of(case=list(CASES), weights=["private", "public", "server"])
def test_agrees_with_transformers(case: str, weights: Any, tmp_path: Path) -> None:
    changes, batch, tokens, padded = CASES[case]
    reference = save_decoder(tmp_path, "gpt2", **changes)
    checkpoint = read_checkpoint(tmp_path, weights=weights)
    ids, mask = padded_at_the_start(words(batch, tokens)) if padded else (words(batch, tokens), None)
    due, inputs = forward(reference, ids, mask).logits, {"input_ids": ids, "attention_mask": mask}
    kept = torch.ones_like(ids).bool() if mask is None else mask.bool()
    runs = (
        (clear_run(checkpoint, "logits", inputs), CLEAR_ERROR),
        (
            secure_run(checkpoint, tmp_path / "split", "logits", inputs),
            SECURE_ERROR,
        ),
    )
    for run, bound in runs:
        assert float((run["logits"] - due)[kept].abs().max()) < bound


def test_a_mask_with_holes_leaves_positions_as_they_are(tmp_path: Path) -> None:
    reference = save_decoder(tmp_path, "gpt2")
    ids, mask = words(1, 6), torch.tensor([[0, 1, 0, 1, 1, 0]])
    found = clear_run(read_checkpoint(tmp_path), "logits", {"input_ids": ids, "attention_mask": mask})["logits"]
    assert float((found - forward(reference, ids, mask).logits)[mask.bool()].abs().max()) < CLEAR_ERROR


@pytest.mark.parametrize("head", [True, False])
def test_hidden_states(head: bool, tmp_path: Path) -> None:
    reference = save_decoder(tmp_path, "gpt2", head=head)
    checkpoint = read_checkpoint(tmp_path, head=False)
    body = reference.transformer if head else reference
    ids = words(2, 5)
    found = secure_run(checkpoint, tmp_path / "split", "hidden", {"input_ids": ids})
    assert float((found["last_hidden_state"] - plain(body, ids).last_hidden_state).abs().max()) < SECURE_ERROR


@pytest.mark.parametrize("weights", ["private", "public", "server"])
def test_steps_with_a_cache_give_what_one_pass_gives(weights: Any, tmp_path: Path) -> None:
    reference = save_decoder(tmp_path, "gpt2")
    checkpoint = read_checkpoint(tmp_path, weights=weights)
    ids, mask = padded_at_the_start(words(3, 6))
    steps, due = several_steps(reference, ids, mask, 4)
    clear = clear_steps(checkpoint, "next_logits", steps)
    secure, _ = secure_steps(checkpoint, tmp_path / "split", "next_logits", steps)
    for step, logits in enumerate(due):
        assert float((clear[step]["logits"] - logits).abs().max()) < CLEAR_ERROR
        assert float((secure[step]["logits"] - logits).abs().max()) < SECURE_ERROR


def test_the_likeliest_token_alone(tmp_path: Path) -> None:
    reference = save_decoder(tmp_path, "gpt2")
    checkpoint = read_checkpoint(tmp_path)
    steps, due = several_steps(reference, words(2, 4), None, 3)
    found, _ = secure_steps(checkpoint, tmp_path / "split", "next_token", steps)
    assert all(outputs["token"].dtype == torch.int64 for outputs in found)
    for step, logits in enumerate(due):
        best = logits.topk(2).values
        assert float((best[:, 0] - best[:, 1]).min()) > 2 * SECURE_ERROR, "the test's own model is undecided"
        assert found[step]["token"].tolist() == logits.argmax(-1).tolist()


def several_steps(reference: Any, ids: Tensor, mask: Tensor | None, count: int) -> tuple[list[Any], list[Tensor]]:
    """Inputs of a session that goes on with fixed tokens, and the logits of the last token at each step."""
    more = words(len(ids), count - 1, seed=9)
    whole = torch.cat([ids, more], 1)
    whole_mask = None if mask is None else torch.cat([mask, torch.ones_like(more)], 1)
    due = plain(reference, whole, whole_mask).logits[:, ids.shape[1] - 1 :]
    steps = [ids, *more.split(1, 1)]
    return [{"input_ids": step, "attention_mask": mask} for step in steps], list(due.unbind(1))


def test_only_scores_grow_with_the_context(tmp_path: Path) -> None:
    """What one more token costs after contexts of different length, op by op."""
    save_decoder(tmp_path, "gpt2", n_positions=64)
    checkpoint = read_checkpoint(tmp_path)

    def cost_of_a_token(context: int) -> dict[str, Cost]:
        totals = []
        for steps in (1, 2):
            inputs = [{"input_ids": ids} for ids in (words(1, context), words(1, 1))[:steps]]
            _, meters = secure_steps(checkpoint, tmp_path / "split", "next_logits", inputs)
            totals.append({key: row.measured for key, row in meters["p1"].rows.items()})
        found: dict[str, Cost] = {}
        for (_, op), cost in totals[1].items():
            found[op] = found.get(op, Cost()) + cost
        for (_, op), cost in totals[0].items():
            found[op] += Cost(-cost.rounds, -cost.online_bytes, -cost.dealer_bytes)
        return found

    # With the new token 32, 48 and 64: the maximum takes two steps in groups of up to eight.
    short, middle, long = (cost_of_a_token(context) for context in (31, 47, 63))
    assert sum(cost.rounds for cost in short.values()) == sum(cost.rounds for cost in long.values())
    # Nothing that is independent of scores may grow: matrices of weights and norms.
    for op in ("linear", "linear-share", "smooth-at-once", "lifted-square"):
        assert short[op] == middle[op] == long[op], op
    total = [sum((cost for op, cost in costs.items() if op != "largest"), Cost()) for costs in (short, middle, long)]
    growth = [total[1].online_bytes - total[0].online_bytes, total[2].online_bytes - total[1].online_bytes]
    # Linear: as many more tokens cost the same from 48 on as from 32 on, but for the maximum, whose groups differ.
    assert abs(growth[0] - growth[1]) <= 0.1 * growth[0]
    # 2 layers, 3 heads: each further key and score takes less than 100 bytes of both parties, not a row of the model.
    assert max(growth) < 4 * 2 * 3 * 100


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("add_cross_attention", True),
        ("activation_function", "tanh"),
        ("n_head", 5),
        ("n_embd", None),
        ("n_inner", 0),
        ("quantization_config", {"bits": 4}),
        ("architectures", ["GPT2DoubleHeadsModel"]),
    ],
)
def test_unsupported_configuration_is_named(
    field: str, value: object, tmp_path: Path, edit: Callable[..., None]
) -> None:
    save_decoder(tmp_path, "gpt2")
    edit(tmp_path, config={field: value})
    with pytest.raises(CheckpointError, match=field):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("family", ["gpt2", "llama", "mistral", "qwen2"])
def test_token_types_are_refused(family: str, tmp_path: Path) -> None:
    save_decoder(tmp_path, family)
    net = network(read_checkpoint(tmp_path).manifest)
    inputs = {"input_ids": words(1, 4), "token_type_ids": torch.zeros(1, 4, dtype=torch.int64)}
    with pytest.raises(InputError, match="token_type_ids: this model has no token types"):
        client_inputs(net, net.request("logits", inputs), inputs)


@pytest.mark.parametrize(
    ("output", "tokens", "steps", "message"),
    [
        ("next_logits", 18, 4, "18 tokens and 4 new ones; this model has room for 20 together"),
        ("logits", 21, 1, "21 tokens; this model has room for 20"),
        ("logits", 3, 2, "take one step, not 2"),
        ("next_logits", 3, 0, "0 steps"),
        ("embedding", 3, 1, "no sentence embeddings"),
        ("hidden", 3, 1, "loaded with its head"),
    ],
)
def test_requests_that_it_cannot_serve(output: Output, tokens: int, steps: int, message: str, tmp_path: Path) -> None:
    save_decoder(tmp_path, "gpt2")
    with pytest.raises(InputError, match=message):
        network(read_checkpoint(tmp_path).manifest).validate(Request(output, 1, tokens, False, steps))


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("row", [[1, 1, 0, 0], [1, 0, 0, 1], [0, 1, 0, 1]])
def test_a_prompt_with_padding_after_its_start_is_refused(row: list[int], family: str, tmp_path: Path) -> None:
    save_decoder(tmp_path, family)
    net = network(read_checkpoint(tmp_path).manifest)
    inputs = {"input_ids": words(2, 4), "attention_mask": torch.tensor([[1, 1, 1, 1], row])}
    with pytest.raises(InputError, match=r"attention_mask row 1: a prompt to go on from is padded at its start alone"):
        client_inputs(net, net.request("next_logits", inputs, steps=2), inputs)
