"""Actions on spaces: what is written and read cancels, inverses undo, and each factor keeps its promises."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from secure.protocols.core.errors import InputError
from secure.protocols.equivariant import Key, Vocabulary
from secure.protocols.equivariant.action import (
    Action,
    Blocks,
    Chain,
    DeferredAction,
    Identity,
    Permutation,
    Scale,
    Stack,
)
from secure.protocols.equivariant.choice import Choice
from secure.protocols.equivariant.factors import channels, ffn, patches, qk, residual, vo
from secure.protocols.equivariant.families.attention import AttentionShape, Dual, attention_spaces

KEY = Key(bytes(range(32)))
STREAM = KEY.stream("test")

ACTIONS: dict[str, Callable[[], Action]] = {
    "identity": lambda: Identity(12),
    "permute": lambda: Permutation(KEY.stream("a").permutation(12)),
    "signed": lambda: residual.signed_permutation(KEY, 12),
    "scale": lambda: Scale(KEY.stream("a").scales(12, 4.0)),
    "blocks": lambda: Blocks(*KEY.stream("a").invertible(4, 4.0, 3)),
    "one block": lambda: Blocks(*KEY.stream("a").invertible(12, 4.0)),
    "stack": lambda: Stack(Identity(4), Scale(KEY.stream("a").scales(8, 4.0))),
    "dual": lambda: Dual(Blocks(*KEY.stream("a").invertible(4, 4.0, 3))),
    "deferred": lambda: DeferredAction(12, lambda: Scale(KEY.stream("a").scales(12, 4.0))),
    "orthogonal": lambda: residual.orthogonal(KEY, 12),
    "orthogonal in blocks": lambda: residual.orthogonal(KEY, 1296),
    "mean-preserving": lambda: residual.mean_preserving(KEY, 12),
    "mean-preserving in blocks": lambda: residual.mean_preserving(KEY, 1297),
    "scaled neurons": lambda: ffn.scaled_neurons(KEY, 0, 12),
    "channels": lambda: Chain(channels.order(KEY, "x", 12), channels.scales(KEY, "x", 12)),
    "image": lambda: channels.image(KEY, 3),
    "patch": lambda: patches.mixing(KEY, 12),
}


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ACTIONS)
def test_what_is_written_is_read_back(name: str) -> None:
    """(xM)(M⁻¹W) = xW, inverses undo both, and axes take the same element."""
    action = ACTIONS[name]()
    x, weight = normal(5, action.size), normal(7, action.size)
    assert torch.allclose(action.write(x) @ action.read(weight).T, x @ weight.T, rtol=0, atol=1e-11)
    assert torch.allclose(action.inverse().write(action.write(x)), x, rtol=0, atol=1e-12)
    assert torch.allclose(action.inverse().read(action.read(x)), x, rtol=0, atol=1e-12)
    for reads, act in ((False, action.write), (True, action.read)):
        assert torch.allclose(action.on_axis(x.clone(), 1, reads=reads), act(x), rtol=0, atol=1e-13)
        assert torch.allclose(action.on_axis(x.T.clone(), 0, reads=reads), act(x).T, rtol=0, atol=1e-13)
        assert torch.allclose(action.on_axis(x[0].clone(), 0, reads=reads), act(x[0]), rtol=0, atol=1e-13)


@pytest.mark.parametrize("size", [12, 1296, pytest.param(2048, marks=pytest.mark.slow)])
def test_the_residual_is_orthogonal_and_dense(size: int) -> None:
    matrix = residual.orthogonal(KEY, size).write(torch.eye(size, dtype=torch.float64))
    assert float((matrix @ matrix.T - torch.eye(size, dtype=torch.float64)).abs().max()) < 1e-12
    assert int((matrix == 0).sum()) == 0
    # As of a Haar matrix: entries of variance 1/n, and no entry that stands out.
    assert abs(float((matrix**2).mean()) * size - 1.0) < 1e-12
    assert float(matrix.abs().max()) < 10 / math.sqrt(size)


def test_large_residuals_come_in_blocks() -> None:
    """As `residual` says: blocks of at least 2√n, and one block where the size has no suitable divisor."""
    for size, blocks in ((768, 1), (1024, 1), (2048, 16), (2304, 24), (4096, 32), (5120, 32), (8192, 32), (1031, 1)):
        assert residual.block_count(size) == blocks
        assert blocks == 1 or size / blocks >= 2 * math.sqrt(size)


@pytest.mark.parametrize("size", [12, 1297])
def test_the_mean_is_kept_up_to_its_sign(size: int) -> None:
    action = residual.mean_preserving(KEY, size)
    ones = action.write(torch.ones(1, size, dtype=torch.float64))
    assert float((ones.abs() - 1).abs().max()) < 1e-12
    assert len(set(ones.sign().flatten().tolist())) == 1
    matrix = action.write(torch.eye(size, dtype=torch.float64))
    assert float((matrix @ matrix.T - torch.eye(size, dtype=torch.float64)).abs().max()) < 1e-12
    assert int((matrix.abs() < 1e-15).sum()) == 0


@pytest.mark.parametrize("rotary", [True, False])
def test_matrices_of_heads_are_well_conditioned(rotary: bool) -> None:
    draw = qk.rotary if rotary else qk.general
    for matrices, duals in (draw(KEY, 0, 4, 16), vo.general(KEY, 0, 4, 16)):
        assert matrices.shape == (4, 16, 16)
        assert float((matrices @ duals.mT - torch.eye(16, dtype=torch.float64)).abs().max()) < 1e-13
        assert float(torch.linalg.cond(matrices).max()) <= 4.0 * (1 + 1e-12)
        assert len({float(matrix[0, 0]) for matrix in matrices}) == 4


def test_rotary_elements_commute_with_every_rotation() -> None:
    matrix = qk.rotary(KEY, 0, 1, 16)[0][0]
    angles = KEY.stream("positions").angles(8)
    cosine, sine = torch.diag(angles.cos()), torch.diag(angles.sin())
    rotation = torch.cat((torch.cat((cosine, sine), 1), torch.cat((-sine, cosine), 1)))
    assert torch.allclose(matrix @ rotation, rotation @ matrix, rtol=0, atol=1e-14)


def test_query_heads_stay_with_their_kv_head() -> None:
    """Scores and mixed values of grouped heads: the same set of heads, whatever their order."""
    shape = AttentionShape(heads=6, kv_heads=2, width=4, rotary=False)
    spaces = attention_spaces(Choice(KEY, ("qk", "vo", "heads")), 0, shape)
    query, key, value = normal(3, 24), normal(3, 8), normal(3, 8)
    output = normal(24, 5)

    def attend(query: Tensor, key: Tensor, value: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
        heads = query.reshape(3, 6, 4).transpose(0, 1)
        keys, values = (x.reshape(3, 2, 4).transpose(0, 1).repeat_interleave(3, 0) for x in (key, value))
        scores = heads @ keys.mT
        return scores, (scores @ values).transpose(0, 1).reshape(3, 24) @ output

    plain_scores, plain = attend(query, key, value, output)
    moved = (spaces.query.write(query), spaces.key.write(key), spaces.value.write(value), spaces.mixed.read(output.T).T)
    scores, mixed = attend(*moved)
    assert torch.allclose(mixed, plain, rtol=0, atol=1e-11)
    assert torch.allclose(scores.sum(0), plain_scores.sum(0), rtol=0, atol=1e-11)
    assert not torch.allclose(scores, plain_scores)


def test_ids_go_there_and_back() -> None:
    vocabulary = Vocabulary(KEY, 1000)
    ids = torch.arange(1000).reshape(10, 100)
    encrypted = vocabulary.encrypt_ids(ids)
    assert not torch.equal(encrypted, ids)
    assert torch.equal(vocabulary.decrypt_ids(encrypted), ids)
    assert vocabulary.decrypt_ids(vocabulary.encrypt_ids([3, 1, 4, 1, 5])) == [3, 1, 4, 1, 5]
    assert vocabulary.encrypt_ids(ids.int()).dtype == torch.int32
    assert vocabulary.encrypt_ids([]) == []
    table = normal(1000, 2)
    assert torch.equal(vocabulary.rows.on_axis(table, 0, reads=False)[encrypted], table[ids])
    assert torch.equal(vocabulary.decrypt_logits(vocabulary.rows.write(table.T)), table.T)


@pytest.mark.parametrize("ids", [[1000], [-1], torch.tensor([[0, 1000]])])
def test_ids_outside_the_vocabulary_are_refused_and_not_told(ids: list[int] | Tensor) -> None:
    with pytest.raises(InputError, match="outside the vocabulary of 1000") as refusal:
        Vocabulary(KEY, 1000).encrypt_ids(ids)
    assert "-1" not in str(refusal.value)


def test_a_vocabulary_changes_with_the_epoch() -> None:
    first, second = Vocabulary(KEY, 1000), Vocabulary(KEY.rekeyed(), 1000)
    same = int((first.rows.order == second.rows.order).sum())
    # One position in a thousand agrees on average.
    assert same < 10
