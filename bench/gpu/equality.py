"""Programs on the CPU and again on the card: every message and every share must be the same, bit for bit."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.gpu.model import Setting, load, make_model, predict
from bench.gpu.roles import ROLES, Around, Outcome, Session, run_roles, split
from secure.models.contract.manifest import VISIBILITIES, WeightVisibility
from secure.protocols.beaver.protocol import BeaverProtocol
from secure.protocols.core.cost import JOINED
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.primitives import append, linear, square_sum, truncate
from secure.protocols.core.profile import Profile
from secure.protocols.core.secret import Parameter, Secret, Visibility
from secure.protocols.core.transfer import CPU
from secure.protocols.functions.argmax import argmax
from secure.protocols.functions.bits import from_bits, to_bits
from secure.protocols.functions.compare import less_than, select
from secure.protocols.functions.gelu import gelu
from secure.protocols.functions.layernorm import l2_normalise, layer_norm
from secure.protocols.functions.reciprocal_and_root import reciprocal
from secure.protocols.functions.relu import relu
from secure.protocols.functions.softmax import softmax
from secure.protocols.functions.tanh import tanh
from secure.protocols.masked import gates
from secure.protocols.masked.gate import Gate
from secure.protocols.masked.gates import vanishing
from secure.protocols.masked.gates.triple_product import multiply_three
from secure.protocols.masked.roles import Party
from secure.protocols.masked.weights import Matrix

_ROWS, _WIDTH = 21, 40  # no multiples of eight bits or of a card's blocks among the rows


@dataclass(frozen=True)
class Compared:
    """One program on two devices."""

    name: str
    equal: bool
    bytes: int
    gates: frozenset[str]


def every_gate() -> set[str]:
    """Names of all gates of the family that runs here, but for those that draw from the operating system."""
    for module in pkgutil.walk_packages(gates.__path__, gates.__name__ + "."):
        importlib.import_module(module.name)
    waiting: list[Any] = [Gate]
    found: set[str] = set()
    while waiting:
        children = waiting.pop().__subclasses__()
        found |= {
            child.name
            for child in children
            if child.__module__.startswith(gates.__name__) and child.__module__ != vanishing.__name__
        }
        waiting += children
    return found


def arithmetic(protocol: BeaverProtocol, x: Secret, y: Secret) -> list[Secret]:
    """Products of all kinds, sums and truncations."""
    small = x * 0.125
    return [
        x + y * 3 - 1.5,
        small,
        x * y,
        x * x,
        x @ y.transpose(0, 1),
        x.reshape(3, 7, _WIDTH) @ y.reshape(3, 7, _WIDTH).transpose(1, 2),
        square_sum(x),
        multiply_three(x, small, y[:1]),
        truncate(x, 10),
        x.sum(0),
        from_bits(to_bits(x, 30), 16),
    ]


def weighted(protocol: BeaverProtocol, x: Secret, y: Secret) -> list[Secret]:
    """Linear layers by a private matrix, the second argument again, and by one that P1 holds; what was kept."""
    revealed = protocol.reveal(y.transpose(0, 1))
    share = None if protocol.at_dealer else revealed
    parameter = Parameter((_WIDTH, _ROWS), 16, opened=True)
    prepared = protocol.prepare(parameter, share)
    assert isinstance(prepared, Matrix)
    kept = append(x * 0.5, append(y, None, 0), 0)
    at_owner = isinstance(protocol.role, Party) and protocol.role.index == 1
    held = protocol.prepare(parameter, share if at_owner else None, Visibility.SERVER)
    return [
        linear(x, prepared, y[0, :_ROWS]),
        linear(x[:1], prepared, None),
        linear(x[:1], prepared, None, truncated=False),
        linear(truncate(x * 0.5, 10), prepared, None, wide=True),
        linear(truncate(x * 0.5, 10), held, y[0, :_ROWS]),
        x @ kept.transpose(0, 1),
    ]


def functions(protocol: BeaverProtocol, x: Secret, y: Secret) -> list[Secret]:
    """Everything that compares."""
    return [
        relu(x),
        gelu(x),
        tanh(x),
        less_than(x, y),
        select(less_than(x, 0.5), x, y),
        argmax(x),
        softmax(x),
        layer_norm(x, y[0], y[1], 1e-5),
        l2_normalise(x),
        reciprocal(x * x + 1.0),
    ]


def many_rounds(protocol: BeaverProtocol, x: Secret, y: Secret) -> list[Secret]:
    """What takes other gates where no round is worth a byte."""
    protocol.profile = Profile("bytes alone", 0)
    return [gelu(x), softmax(x), reciprocal(x * x + 1.0)]


PROGRAMS: tuple[tuple[str, Callable[[BeaverProtocol, Secret, Secret], list[Secret]]], ...] = (
    ("arithmetic", arithmetic),
    ("weights", weighted),
    ("functions", functions),
    ("many rounds", many_rounds),
)
TINY = Setting(layers=2, tokens=9, hidden=24, heads=3, vocabulary=50)


def run_program(
    function: Callable[..., list[Secret]],
    policy: FixedPointPolicy,
    device: torch.device,
    around: Around | None = None,
) -> Outcome:
    """One of `PROGRAMS` on numbers between -4 and 4, all results revealed."""
    generator = torch.Generator().manual_seed(5)
    values = torch.randint(-(4 << 16), 4 << 16, (2, _ROWS, _WIDTH), generator=generator)

    def program(protocol: BeaverProtocol, shares: Sequence[Tensor | None]) -> list[Tensor]:
        x, y = (protocol.input(share, (_ROWS, _WIDTH), 16) for share in shares)
        results = [protocol.reveal(secret) for secret in function(protocol, x, y)]
        return [] if protocol.at_dealer else [result.cpu() for result in results]

    inputs = [split(value, number) for number, value in enumerate(values)]
    return run_roles(program, inputs, device, Session.number(1), policy=policy, record=True, around=around)


def run_model(weights: WeightVisibility, device: torch.device) -> list[Outcome]:
    """A tiny BERT, loaded and evaluated."""
    model = make_model(TINY, weights)
    loaded = load(model, device, record=True)
    found = predict(model, loaded, device, Session.number(3), record=True)
    return [Outcome({}, loaded.meters, loaded.sent), found]


def cases() -> list[tuple[str, Callable[[torch.device], list[Outcome]]]]:
    """Every program that is compared, by name."""
    found: list[tuple[str, Callable[[torch.device], list[Outcome]]]] = []
    for truncation in ("probabilistic", "exact"):
        policy = FixedPointPolicy(truncation=truncation)
        for name, function in PROGRAMS:
            found.append((f"{name}, {truncation}", _on_device(function, policy)))
    for weights in VISIBILITIES:
        found.append((f"tiny BERT, {weights} weights", _model_on_device(weights)))
    return found


def _on_device(function: Callable[..., list[Secret]], policy: FixedPointPolicy) -> Callable[..., list[Outcome]]:
    return lambda device: [run_program(function, policy, device)]


def _model_on_device(weights: WeightVisibility) -> Callable[[torch.device], list[Outcome]]:
    return lambda device: run_model(weights, device)


def compare(name: str, run: Callable[[torch.device], list[Outcome]], device: torch.device) -> Compared:
    """One program on the CPU and on the device."""
    return compared(name, run(CPU), run(device))


def compared(name: str, due: Sequence[Outcome], found: Sequence[Outcome]) -> Compared:
    """Whether two runs send the same bytes and end with the same shares.

    Into which messages a dealer cuts its bytes depends on where its gates run.
    """
    pairs = list(zip(due, found, strict=True))
    equal = all(_same(a.results[role], b.results[role]) for a, b in pairs for role in a.results)
    equal = equal and all(b"".join(a.sent[role]) == b"".join(b.sent[role]) for a, b in pairs for role in ROLES)
    size = sum(len(message) for a, _ in pairs for role in ROLES for message in a.sent[role])
    ops = {op for a, _ in pairs for _, op in a.meters["p1"].rows} - {JOINED}
    return Compared(name, equal, size, frozenset(ops))


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, list):
        return len(a) == len(b) and all(torch.equal(x.cpu(), y.cpu()) for x, y in zip(a, b, strict=True))
    return bool(a == b)
