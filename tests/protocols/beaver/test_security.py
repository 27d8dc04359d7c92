"""What each party sees: uniform bytes, fresh at every run, of a length that depends on shapes only.

All inputs are zero in the tests of uniformity: whatever structure there is comes from the protocol alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from secure.protocols.beaver.protocol import BeaverParty, BeaverProtocol
from secure.protocols.core import ring
from secure.protocols.core.channel import queue_channels
from secure.protocols.core.cost import Cost
from secure.protocols.core.prg import Prg
from secure.protocols.core.primitives import concatenate, linear, square_sum, truncate
from secure.protocols.core.secret import Parameter, Protocol, SecretSpec, Visibility
from secure.protocols.masked.gate import Gate
from secure.protocols.masked.gates.opening import Open
from secure.protocols.masked.gates.product import OpenedProduct
from secure.protocols.masked.gates.triple_product import multiply_three
from secure.protocols.masked.gates.vanishing import SquaresVanish
from secure.protocols.masked.sharing import two_parts
from tests.families import FAMILIES
from tests.in_process import BEAVER, EXACT, POLICY, ROLES, Family, SendOnly, run_roles, secure
from tests.protocols.gates import GATES, Build, Shape
from tests.protocols.ops import run_secure
from tests.protocols.table import OPS
from tests.protocols.uniformity import ENOUGH_BYTES, P_VALUE, assert_uniform, length_for_enough, p_value


def test_the_test_sees_structure() -> None:
    uniform = np.random.default_rng(0).integers(0, 256, ENOUGH_BYTES, dtype=np.uint8)
    assert p_value(uniform) > 1e-3
    uneven = uniform.copy()
    uneven[::20] &= 0x7F  # one byte in twenty lacks its top bit
    assert p_value(uneven) < P_VALUE
    assert p_value(np.zeros(ENOUGH_BYTES, dtype=np.uint8)) < P_VALUE


LONG = {SquaresVanish}
"""Three thousand runs for enough hashes take ten seconds. The joint view of this gate is always searched."""

GATE_ROWS = [
    pytest.param(
        gate,
        build,
        cases[-2],
        id=f"{gate.__name__}-{variant}",
        marks=[pytest.mark.slow] if gate in LONG else [],
    )
    for gate, variant, build, cases in GATES
]


def run_gate(
    build: Build, shapes: tuple[Shape, ...], count: int, times: int = 1
) -> tuple[Gate[Any], dict[str, int], dict[str, list[bytes]]]:
    """The gate on zeros, the first axis of its first argument of length `count`, run `times` times on end.

    Returns the gate, how many bytes each role sent in it, and everything that each role sent.
    """
    inputs = [
        torch.zeros((count, *shape[1:]) if i == 0 else shape, dtype=torch.int64) for i, shape in enumerate(shapes)
    ]
    gates: list[Gate[Any]] = []

    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        assert isinstance(protocol, BeaverProtocol)
        held = [
            torch.empty(x.shape, dtype=torch.int64, device="meta") if share is None else share
            for share, x in zip(shares, inputs, strict=True)
        ]
        gates.append(build(protocol, held))
        with protocol.layer("tested"):
            for _ in range(times):
                protocol.run(gates[-1])
        return torch.zeros(1)

    _, meters, sent = run_roles(program, inputs)
    costs: dict[str, Cost] = {role: meter.rows["tested", gates[0].name].measured for role, meter in meters.items()}
    own = {role: cost.dealer_bytes if role == "dealer" else cost.online_bytes for role, cost in costs.items()}
    return gates[0], own, sent


@pytest.mark.parametrize(("gate", "build", "shapes"), GATE_ROWS)
def test_every_gate_sends_uniform_bytes(gate: type[Gate[Any]], build: Build, shapes: tuple[Shape, ...]) -> None:
    few = 8
    _, own, _ = run_gate(build, shapes, few)
    _, more, _ = run_gate(build, shapes, 2 * few)
    # What an argument of fixed size adds does not grow.
    grown = [added for role in ROLES if (added := more[role] - own[role])]
    # A seed or a hash is as long for any argument: such a gate runs often enough, each time with fresh correlations.
    fixed = [own[role] for role in ROLES if own[role] and more[role] == own[role]]
    times = -(-ENOUGH_BYTES // min(fixed)) if fixed else 1
    count = 1 if fixed else length_for_enough(few, min(grown))
    ready, own, sent = run_gate(build, shapes, count, times)
    if (least := min(filter(None, own.values()))) < ENOUGH_BYTES:
        # A comparison of many elements merges its digits in more rounds, of which less is sent for each element.
        ready, own, sent = run_gate(build, shapes, length_for_enough(count, least))
    # Gates of which the bytes are whole ring elements.
    width = ring.element_bytes(ready.bits) if isinstance(ready, Open | OpenedProduct) else 1
    for role in ROLES:
        # The gate's own traffic is the last of what was sent.
        if own[role]:
            assert_uniform(b"".join(sent[role])[-own[role] :], width, f"{gate.name} from {role}")


def test_openings_of_47_bits_are_uniform_in_their_unused_bit() -> None:
    """Elements travel in whole bytes; bit 47 of a 47-bit element is as random as the others."""

    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        truncate(protocol.input(shares[0], (count,), 16, 47), 0)
        return torch.zeros(1)

    count = ENOUGH_BYTES
    run = run_roles(program, [torch.zeros(count, dtype=torch.int64)])
    for role in ("p0", "p1"):
        assert_uniform(b"".join(run[2][role]), 6, role)


def every_op(count: int) -> Any:
    """A program that uses most primitives on one vector."""
    names = ("scale-up", "square", "relu", "gelu", "tanh", "exp2-negative", "reciprocal", "softmax-mild", "argmax")
    chosen = [op for op in OPS if op.name in names]
    assert len(chosen) == len(names)

    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        x = protocol.input(shares[0], (count // 4, 4), 16)
        for op in chosen:
            op.function(x)
        table = protocol.prepare(Parameter((4, 4), 16, opened=True), shares[1])
        y = linear(x, table, None)
        z = multiply_three(y, x, x) + x @ x[:4]
        return protocol.reveal(concatenate(z, [square_sum(x).reshape(1, -1)[:, :4]], 0))

    return program


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize("policy", [POLICY, EXACT], ids=lambda policy: policy.truncation)
@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_a_whole_program_sends_uniform_bytes(policy: Any, fill: float, family: Family) -> None:
    inputs = [torch.full((1000, 4), int(fill * 65536)), torch.full((4, 4), int(fill * 65536))]
    _, _, sent = family.run(every_op(4000), inputs, policy=policy)
    assert len(sent) == 3
    for role, messages in sent.items():
        assert p_value(b"".join(messages)) > P_VALUE, role


def traffic(values: list[Tensor], family: Family = BEAVER) -> dict[str, list[bytes]]:
    # One session's name, as it says who helps first among three; the seeds are fresh.
    return family.run(every_op(40), values, session=bytes(16))[2]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_same_inputs_twice_give_different_traffic_of_one_length(family: Family) -> None:
    ones = [torch.full((10, 4), 65536), torch.full((4, 4), 65536)]
    others = [x * 3 + torch.arange(x.numel()).reshape(x.shape) for x in ones]
    runs = [traffic(values, family) for values in (ones, ones, others)]
    for role in runs[0]:
        first, second, third = (run[role] for run in runs)
        assert [len(m) for m in first] == [len(m) for m in second] == [len(m) for m in third]
        long = [pair for pair in zip(first, second, strict=True) if len(pair[0]) >= 16]
        assert long and all(a != b for a, b in long)
        words = [
            w for run in (first, second) for w in np.frombuffer(b"".join(run)[: len(b"".join(run)) // 8 * 8], "<u8")
        ]
        assert len(set(words)) == len(words), "no word of eight bytes occurs twice"


@pytest.mark.parametrize("policy", [POLICY, EXACT], ids=lambda policy: policy.truncation)
def test_no_address_of_the_generator_serves_twice(policy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dealer's two generators and each party's own draw the same addresses, each once; all streams differ.

    So do those of the generator that P0 and P1 have in common, of which the dealer has none.
    """
    addresses: dict[int, list[tuple[int, int]]] = defaultdict(list)
    starts: dict[int, list[bytes]] = defaultdict(list)
    generators: list[Prg] = []
    original = Prg._bytes

    def recorded(self: Prg, gate: int, label: int, count: int, device: torch.device) -> Tensor:
        if not any(self is known for known in generators):
            generators.append(self)
        drawn = original(self, gate, label, count, device)
        addresses[id(self)].append((gate, label))
        if count >= 16:
            starts[id(self)].append(drawn[:16].numpy().tobytes())
        return drawn

    monkeypatch.setattr(Prg, "_bytes", recorded)
    seeds, inputs = (
        (bytes(16), bytes([1]) * 16),
        [torch.zeros((10, 4), dtype=torch.int64), torch.zeros((4, 4), dtype=torch.int64)],
    )
    for session in (b"first", b"second"):
        run_roles(every_op(40), inputs, policy=policy, seeds=seeds, common_seed=bytes([2]) * 16, session=session)
    assert len(generators) == 12, "per session: p0, p1, two at the dealer, and the common one at p0 and at p1"
    for used in addresses.values():
        assert len(set(used)) == len(used)
    # Each party's streams also occur at the dealer, and the common ones at both parties; nothing else is in common:
    # not P0's with P1's, not either's with the common ones, and not those of two sessions.
    streams = [set(found) for found in starts.values()]
    assert all(len(found) == len(starts[key]) for key, found in zip(starts, streams, strict=True))
    distinct: list[set[bytes]] = []
    for found in streams:
        twins = [known for known in distinct if known & found]
        if twins:
            twins[0] |= found
        else:
            distinct.append(set(found))
    assert len(distinct) == 6
    assert sum(map(len, distinct)) == len(set().union(*distinct))


def test_dealer_never_receives() -> None:
    """run_roles gives the dealer a channel whose receive raises; every op of the table runs with it."""
    with pytest.raises(AssertionError, match="tried to receive"):
        SendOnly(queue_channels("dealer", "p1")[0]).receive()
    generator = torch.Generator().manual_seed(0)
    for op in OPS:
        run_secure(op, op.fill(op.shapes[0], generator), op.forms[0], POLICY)


def server_program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
    """Load what P1 alone holds, then use all of it: a table, a matrix, a bias, a gain."""

    def held(number: int, **kind: Any) -> Any:
        values, at_owner = shares[number], isinstance(protocol, BeaverParty) and protocol.role.index == 1
        return protocol.prepare(
            Parameter(SERVER_SHAPES[number], 16, **kind), values if at_owner else None, Visibility.SERVER
        )

    one_hot = protocol.input(shares[0], SERVER_SHAPES[0], 0, 24)
    table, weight = held(1, bits=24, opened=True), held(2, opened=True)
    bias, gain = held(3, opened=False), held(4, opened=True)
    rows = linear(one_hot, table, None)
    hidden = linear(rows, weight, bias)
    return protocol.reveal(linear(hidden * protocol.bind(gain), weight, None))


SERVER_SHAPES = ((600, 40), (40, 64), (64, 64), (64,), (64,))


def server_traffic(fill: int, **options: Any) -> tuple[list[Tensor], dict[str, list[bytes]]]:
    """With everything that P1 holds equal to `fill`, and an input of zeros. Returns what P0 and P1 reveal, and traffic.

    The weights are no secret to P1, so its input here is the weights and not a share of them.
    """
    weights = [torch.full(shape, fill, dtype=torch.int64) for shape in SERVER_SHAPES[1:]]

    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        return server_program(protocol, [shares[0], *weights])

    revealed, _, sent = run_roles(program, [torch.zeros(SERVER_SHAPES[0], dtype=torch.int64)], **options)
    return revealed, sent


@pytest.mark.parametrize("fill", [0, 1, (1 << 16) + 1, -3 << 16])
def test_a_party_without_the_weights_sees_uniform_bytes(fill: int) -> None:
    """Whatever P1 holds. What P1 sees is as uniform: it knows the weights, and nothing of the input."""
    _, sent = server_traffic(fill)
    for role in ROLES:
        assert p_value(b"".join(sent[role])) > P_VALUE, role
    loaded = sent["p1"][:3]  # table, matrix, gain; a bias is not sent
    assert [len(message) for message in loaded] == [3 * 40 * 64, 8 * 64 * 64, 8 * 64]
    assert [len(message) for message in sent["p0"][:3]] == [0, 0, 8 * 64]
    for first, second in zip(loaded, server_traffic(fill)[1]["p1"], strict=False):
        assert first != second, "the same weights under another mask"


def test_what_is_sent_for_weights_depends_on_no_weight() -> None:
    """Under one seed, two models' loading messages differ by the difference of the models: the mask is the same
    one-time pad, drawn before any weight is looked at. So without P1's seed either model explains every message."""
    options = {"seeds": (bytes(16), bytes([1]) * 16), "session": b"loading"}
    (_, first), (_, second) = (server_traffic(fill, **options) for fill in (0, 7))
    for a, b, width in zip(first["p1"][:2], second["p1"][:2], (3, 8), strict=True):
        modulus = 1 << 8 * width
        words = [[int.from_bytes(m[i : i + width], "little") for i in range(0, len(m), width)] for m in (a, b)]
        assert {(y - x) % modulus for x, y in zip(*words, strict=True)} == {7}
    # While models are loaded P0 says the same: nothing, and its own mask of a vector.
    assert first["p0"][:3] == second["p0"][:3]


def test_what_p1_learns_of_an_input_is_one_time_padded_by_p0() -> None:
    """Two inputs, one seed: what P0 sends to P1's product differs by the input's own share, whatever the weights."""

    def message(value: int, fill: int) -> bytes:
        def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
            at_owner = isinstance(protocol, BeaverParty) and protocol.role.index == 1
            parameter = Parameter((4, 3), 16, opened=True)
            weight = protocol.prepare(parameter, weights if at_owner else None, Visibility.SERVER)
            # P1's share of the input is zero here, so that P0's is the input.
            at_p0 = isinstance(protocol, BeaverParty) and protocol.role.index == 0
            x = protocol.input(inputs if at_p0 else None if protocol.at_dealer else inputs * 0, (5, 4), 16)
            return protocol.reveal(linear(x, weight, None))

        weights, inputs = torch.full((4, 3), fill), torch.full((5, 4), value)
        _, _, sent = run_roles(program, [], seeds=(bytes(16), bytes([1]) * 16), session=b"one use")
        return sent["p0"][1]

    first, second = (np.frombuffer(message(value, fill), "<i8") for value, fill in ((0, 5), (9, 6)))
    assert set(second - first) == {9}


@pytest.mark.parametrize("last", ["fresh", "after a product"])
def test_revealed_shares_are_uniform_each(last: str) -> None:
    zeros = torch.zeros(ENOUGH_BYTES, dtype=torch.float64)
    run = secure((lambda x: x) if last == "fresh" else (lambda x: x * x * 0.3), zeros)
    assert run.shares is not None and int(run.result.abs().max()) <= 1
    for share in run.shares:
        assert_uniform(share.numpy().tobytes(), 8, last)


def test_client_payloads_are_uniform_each() -> None:
    specs = {"x": SecretSpec((ENOUGH_BYTES,), 16), "one_hot": SecretSpec((7, 1001), 0, bits=32)}
    tensors = {name: torch.zeros(spec.shape, dtype=torch.int64) for name, spec in specs.items()}
    seed, corrections = two_parts.share(tensors, specs)
    assert_uniform(corrections[-8 * ENOUGH_BYTES :], 8, "p1's payload")
    again_seed, again = two_parts.share(tensors, specs)
    assert len(seed) == 16 and seed != again_seed and corrections != again
    assert len(corrections) == two_parts.payload_bytes(specs) == 8 * ENOUGH_BYTES + 4 * 7007


def test_what_is_revealed_says_nothing_beyond_the_ring() -> None:
    """Bits above an odd ring would depend on masks; 47 bits travel in six bytes."""
    x = torch.arange(-500, 500)

    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        secret = protocol.input(shares[0], tuple(x.shape), 0, 47)
        return protocol.reveal(secret, 47)

    for _ in range(20):
        results, _, _ = run_roles(program, [x])
        assert all(bool(((share >= 0) & (share < 2**47)).all()) for share in results)
        assert torch.equal(((sum(results) << 17) >> 17), x)
