"""What is the replicated family's own: who holds which seed, shares of the ends, agreement of what two parties hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.prg import Prg
from secure.protocols.core.primitives import square_sum
from secure.protocols.core.secret import Protocol, SecretSpec
from secure.protocols.masked.gates.exponential import exp2_negative
from secure.protocols.masked.sharing import three_parts
from secure.protocols.masked.sharing.payloads import payload_bytes
from secure.protocols.replicated.secret import ReplicatedSecret
from tests.families import REPLICATED
from tests.in_process import EXACT, POLICY, secure
from tests.protocols.beaver.test_security import every_op
from tests.protocols.uniformity import ENOUGH_BYTES, assert_uniform
from tests.three_parties import party_seeds, run_parties

SPECS = {"x": SecretSpec((2, 3), 16), "y": SecretSpec((5,), 0, bits=32)}
TENSORS = {"x": torch.arange(6).reshape(2, 3) - 3, "y": torch.tensor([0, 1, -1, 7, -(2**31)])}


@pytest.mark.parametrize("policy", [POLICY, EXACT], ids=lambda policy: policy.truncation)
def test_no_address_of_the_generator_serves_twice(policy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every stream is drawn by exactly two parties, the helper's and one other, or by all three for the client."""
    addresses: dict[int, list[tuple[int, int]]] = defaultdict(list)
    starts: dict[int, set[bytes]] = defaultdict(set)
    generators: list[Prg] = []
    original = Prg._bytes

    def recorded(self: Prg, gate: int, label: int, count: int, device: torch.device) -> Tensor:
        if not any(self is known for known in generators):
            generators.append(self)
        drawn = original(self, gate, label, count, device)
        addresses[id(self)].append((gate, label))
        if count >= 16:
            starts[id(self)].add(drawn[:16].numpy().tobytes())
        return drawn

    inputs = [torch.zeros((10, 4), dtype=torch.int64), torch.zeros((4, 4), dtype=torch.int64)]
    seeds = party_seeds()
    monkeypatch.setattr(Prg, "_bytes", recorded)
    for session in (b"first", b"second"):
        run_parties(every_op(40), inputs, policy=policy, seeds=seeds, session=session)
    for used in addresses.values():
        assert len(set(used)) == len(used)
    holders: dict[bytes, int] = defaultdict(int)
    for found in starts.values():
        for start in found:
            holders[start] += 1
    assert set(holders.values()) <= {1, 2, 3}
    # Sharing the inputs draws by itself, once each; the client's zero is drawn by all three.
    assert sum(count == 2 for count in holders.values()) > 100


def test_a_party_holds_two_seeds_of_three() -> None:
    seeds = party_seeds()
    for i, party in enumerate(seeds):
        after, before = seeds[(i + 1) % 3], seeds[i - 1]
        assert party.with_next == after.with_previous and party.with_previous == before.with_next
        assert after.with_next not in (party.with_next, party.with_previous), "that of the other two"
        assert party.with_next.hex() not in repr(party) and "seed" not in repr(party)


def test_what_two_parties_hold_agrees_after_every_op() -> None:
    held: dict[int, list[tuple[Tensor, Tensor]]] = {}

    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        x = protocol.input(shares[0], (7, 5), 16)
        y = x * x * 0.3
        results = [x, y, x + y, x @ y.transpose(0, 1), square_sum(x), exp2_negative(y)]
        parts = []
        for result in results:
            assert isinstance(result, ReplicatedSecret)
            mask = -1 if result.shares.bits == 64 else (1 << result.shares.bits) - 1
            parts.append((result.shares.own & mask, result.shares.following & mask))
        held[protocol.index] = parts  # type: ignore[attr-defined]
        return protocol.reveal(x)

    run_parties(program, [torch.randint(0, 3 << 16, (7, 5))])
    for i in range(3):
        for mine, theirs in zip(held[i], held[(i + 1) % 3], strict=True):
            assert torch.equal(mine[1], theirs[0])


@pytest.mark.parametrize("last", ["fresh", "after a product"])
def test_revealed_parts_are_uniform_each(last: str) -> None:
    zeros = torch.zeros(ENOUGH_BYTES, dtype=torch.float64)
    run = secure((lambda x: x) if last == "fresh" else (lambda x: x * x * 0.3), zeros, family=REPLICATED)
    assert run.shares is not None and int(run.result.abs().max()) <= 1
    for parts in run.shares:
        for part in parts:
            assert_uniform(part.numpy().tobytes(), 8, last)


def test_revealed_parts_are_fresh() -> None:
    """What the client gets is no part that a party held: those are part of a gate's transcript."""
    kept: dict[int, Tensor] = {}

    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        x = protocol.input(shares[0], (100,), 16)
        assert isinstance(x, ReplicatedSecret)
        kept[protocol.index] = x.shares.own  # type: ignore[attr-defined]
        return protocol.reveal(x)

    results, _, _ = run_parties(program, [torch.arange(100)])
    for i, result in enumerate(results):
        assert not bool((result[0] == kept[i]).any())


def test_client_payloads_are_uniform_each() -> None:
    specs = {"x": SecretSpec((ENOUGH_BYTES,), 16), "one_hot": SecretSpec((7, 1001), 0, bits=32)}
    tensors = {name: torch.zeros(spec.shape, dtype=torch.int64) for name, spec in specs.items()}
    first, second, third = three_parts.share(tensors, specs)
    assert len(first) == 32 and first[16:] == second[:16] and first[:16] == third[-16:] and first[:16] != first[16:]
    assert second[16:] == third[:-16]
    assert_uniform(second[-8 * ENOUGH_BYTES :], 8, "the last part")
    assert [len(p) for p in (first, second, third)] == list(three_parts.sent_bytes(specs))


def test_sharing_round_trip() -> None:
    opened = [
        three_parts.open_payload(i, payload, SPECS) for i, payload in enumerate(three_parts.share(TENSORS, SPECS))
    ]
    back = three_parts.reconstruct([three_parts.pack_shares(shares, SPECS) for shares in opened], SPECS)
    assert back.keys() == TENSORS.keys()
    assert all(torch.equal(back[name], TENSORS[name]) for name in TENSORS)


def test_a_share_that_differs_is_noticed() -> None:
    """The redundant third: whatever one party changes, the other one that holds the same part did not."""
    opened = [
        three_parts.open_payload(i, payload, SPECS) for i, payload in enumerate(three_parts.share(TENSORS, SPECS))
    ]
    payloads = [bytearray(three_parts.pack_shares(shares, SPECS)) for shares in opened]
    for index in range(3):
        for position in (0, len(payloads[index]) - 1):
            payloads[index][position] ^= 1
            with pytest.raises(ProtocolError, match="sent different shares"):
                three_parts.reconstruct(payloads, SPECS)
            payloads[index][position] ^= 1
    three_parts.reconstruct(payloads, SPECS)


def test_sharing_refuses_what_does_not_fit() -> None:
    with pytest.raises(ProtocolError, match=r"inputs are \['x'\], due are \['x', 'y'\]"):
        three_parts.share({"x": TENSORS["x"]}, SPECS)
    with pytest.raises(ProtocolError, match="'x' has shape"):
        three_parts.share({**TENSORS, "x": TENSORS["x"].T}, SPECS)
    payloads = three_parts.share(TENSORS, SPECS)
    for index in range(3):
        with pytest.raises(ProtocolError, match="bytes, due are"):
            three_parts.open_payload(index, payloads[index][:-1], SPECS)
    with pytest.raises(ProtocolError, match="p1 sent a share of the output of"):
        due = 2 * payload_bytes(SPECS)
        three_parts.reconstruct([bytes(due), bytes(due - 1), bytes(due)], SPECS)


def test_model_shares_are_uniform_and_add_up() -> None:
    split, weights = three_parts.splitter(), torch.full((ENOUGH_BYTES,), 7)
    given = split(0, 0, weights)
    for share in (share for held in given for share in held):
        assert_uniform(share.numpy().tobytes(), share.element_size(), "part")
    assert bool((given[0][0] + given[1][0] + given[2][0] == 7).all())
    for i in range(3):
        assert torch.equal(given[i][1], given[(i + 1) % 3][0])
    assert not any(torch.equal(*pair) for pair in zip(given[0], split(0, 1, weights)[0], strict=True))
    with pytest.raises(ProtocolError, match="already used"):
        split(0, 0, weights)


def test_a_share_of_another_shape_is_refused() -> None:
    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        return protocol.reveal(protocol.input(shares[0], (4,), 16))

    with pytest.raises(Exception, match=r"a replicated share has shape \(2, 4\)"):
        run_parties(program, [torch.arange(6)])
