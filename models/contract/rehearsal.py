"""A model on inputs in the clear, at its owner, before anything is shared: is what it computes in range?

What leaves the range of secure arithmetic is not clipped but wrong. The model's own program runs on plain floats, which
are held against every bound that its gates have. One weight is in memory at a time, as when it is shared. So every
checkpoint runs on a few inputs when it is read, a captured module on its example, and any on what its owner likes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from secure.models.contract.deferred import computed
from secure.models.contract.manifest import ParameterSpec
from secure.models.contract.network import Inputs, Network
from secure.protocols.cleartext.protocol import ClearSecret, CleartextProtocol
from secure.protocols.core import primitives, secret
from secure.protocols.core.errors import CheckpointError
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.piecewise import Piecewise
from secure.protocols.core.secret import P, Primitive, Secret, row, table
from secure.protocols.functions.reciprocal_and_root import INVERSE_ROOT
from secure.protocols.functions.softmax import MASKED
from secure.protocols.masked.gates.piecewise import piecewise

_NOTHING = 2.0**-14
"""A mean square after a norm that is as good as zero."""
_MOST_SPREAD = -MASKED - 16
"""How far a masked score may be above the largest one that counts, and get probability zero still."""


@dataclass(frozen=True)
class NormInput:
    """What one norm saw. mean_squares: of every row, float [rows]; magnitude: of the largest number."""

    mean_squares: Tensor
    magnitude: float


@dataclass(frozen=True)
class Finding:
    """What was out of range. layer: of the model; after: the weight that was used last; what: the value, in words."""

    layer: str
    after: str
    what: str

    def __str__(self) -> str:
        after = f" at or after {self.after}" if self.after else ""
        return f"layer {self.layer} leaves the range{after}: {self.what}"


@dataclass(frozen=True)
class RangeCheck:
    """What a run in the clear found, and is printed as.

    findings: the first thing of each layer that was out of range, in order; none where all is well. largest: the
    largest magnitude by layer, of all that is multiplied, compared or truncated. limit: what magnitudes stay below.
    """

    findings: tuple[Finding, ...]
    largest: Mapping[str, float]
    limit: float

    @property
    def fine(self) -> bool:
        """Whether secure arithmetic is right for these inputs."""
        return not self.findings

    def __str__(self) -> str:
        if self.findings:
            found = "\n".join(f"  {finding}" for finding in self.findings)
            return f"secure arithmetic would give wrong results for these inputs:\n{found}"
        layer = max(self.largest, key=lambda name: self.largest[name])
        return (
            f"all numbers are in range: the largest is {self.largest[layer]:.4g} of {self.limit:.6g}, in layer {layer}"
        )


class Rehearsal(CleartextProtocol):
    """Plain floats. What is out of range is noted, and the run goes on.

    tokens: of the longest input that counts. thorough: every row of a norm is looked at, in float64; else, in float32,
    the typical one, as texts that nobody writes have rows that no text has. norms: what each norm saw, in order;
    squares: the sums of the one that is computed, without epsilon. findings: as of a `RangeCheck`.
    """

    def __init__(self, policy: FixedPointPolicy, *, thorough: bool = False, tokens: int = 1) -> None:
        super().__init__(policy)
        self.thorough = thorough
        self.tokens = tokens
        self.norms: list[NormInput] = []
        self.findings: list[Finding] = []
        self.squares: Tensor | None = None
        self._weight = ""

    def check(self, folder: Path, advice: str) -> None:
        """Raises CheckpointError, naming layer and value, where something was out of range. advice: what to do."""
        if self.findings:
            raise CheckpointError(
                f"{folder}: run on a few inputs in the clear, {self.findings[0]}. Secure arithmetic would give wrong "
                f"results: {advice}"
            )

    @property
    def result(self) -> RangeCheck:
        """What the run found."""
        return RangeCheck(tuple(self.findings), dict(self.largest), 2.0**self.policy.value_bits)

    def weight(self, name: str, spec: ParameterSpec, values: Tensor) -> ClearSecret:
        """A parameter, as `Network.forward` takes it. Raises CheckpointError when its numbers are not finite."""
        self._weight, largest = name, _largest(values)
        if not math.isfinite(largest):
            raise CheckpointError(
                f"parameter {name!r} has NaN or infinite entries; secure computation needs finite ones"
            )
        bits = spec.bound_bits(self.policy)
        if largest >= 2.0**bits:
            self.note(f"parameter {name!r} has entries of magnitude 2^{bits} or more")
        return self.secret(values, spec.fraction_bits)

    def note(self, what: str) -> None:
        """Keep what was out of range first in a layer, and where."""
        if all(finding.layer != self.layer_name for finding in self.findings):
            self.findings.append(Finding(self.layer_name, self._weight, what))

    def secret(self, value: Tensor, fraction_bits: int) -> ClearSecret:
        return super().secret(value.to(torch.float64 if self.thorough else torch.float32), fraction_bits)

    def bounded(self, op: str, x: Tensor, limit: float | None = None) -> Tensor:
        limit, largest = 2.0**self.policy.value_bits if limit is None else limit, _largest(x)
        self.largest[self.layer_name] = max(largest, self.largest.get(self.layer_name, 0.0))
        if not largest < limit:
            self.note(f"{op} has magnitude {largest:.6g}, the declared bound is {limit:.6g}")
        return x

    def refuse(self, what: str) -> None:
        self.note(what)

    def apply(self, primitive: Primitive[P], x: Secret, *args: P.args, **kwargs: P.kwargs) -> Secret:
        program = _NOTING.get(primitive)
        return super().apply(primitive, x, *args, **kwargs) if program is None else program(self, x, *args, **kwargs)


def _add(rehearsal: Rehearsal, x: Secret, y: Secret) -> Secret:
    _note_spread(rehearsal, x, rehearsal.value(y))
    return secret.add.reference(rehearsal, x, y)


def _add_public(rehearsal: Rehearsal, x: Secret, y: Tensor | float) -> Secret:
    if isinstance(y, Tensor):
        _note_spread(rehearsal, x, y)
    return secret.add_public.reference(rehearsal, x, y)


def _note_spread(rehearsal: Rehearsal, x: Secret, mask: Tensor) -> None:
    """Note where a mask is added to scores that are too far apart for one."""
    if float(mask.min()) != MASKED:
        return
    scores = rehearsal.value(x)
    spread = float((scores.amax(-1) - scores.amin(-1)).max())
    if not spread < _MOST_SPREAD:
        rehearsal.note(
            f"attention scores of one token, times log2(e), are {spread:.6g} apart; with a mask they may be "
            f"{_MOST_SPREAD:.6g} at the most"
        )


def _square_sum(rehearsal: Rehearsal, x: Secret, *, fraction_bits: int | None = None) -> Secret:
    value, kept = rehearsal.value(x), 2 * x.fraction_bits if fraction_bits is None else fraction_bits
    rehearsal.norms.append(NormInput(value.square().mean(-1).flatten(), _largest(value)))
    rehearsal.squares = total = value.square().sum(-1, keepdim=True)
    limit = 2.0 ** (62 - kept)
    if not (largest := float(total.max())) < limit:
        rehearsal.note(f"a sum of squares is {largest:.6g}, the declared bound is {limit:.6g}")
    return rehearsal.secret(total, kept)


def _piecewise(rehearsal: Rehearsal, x: Secret, function: Piecewise) -> Secret:
    value = rehearsal.value(x)
    if function.name == INVERSE_ROOT:
        return rehearsal.secret(_inverse_root(rehearsal, value, function), function.output_bits)
    (low, high), (least, most) = function.domain, torch.aminmax(value)
    if not (low <= float(least) and float(most) <= high):
        rehearsal.note(f"{function.name} takes {low:g} to {high:g}, not {float(least):.6g} to {float(most):.6g}")
    if function.least and not (nearest := float(value.abs().min())) >= function.least:
        rehearsal.note(f"{function.name} takes magnitudes of {function.least:g} or more, not {nearest:.6g}")
    return rehearsal.secret(function.reference(value), function.output_bits)


def _inverse_root(rehearsal: Rehearsal, sums: Tensor, function: Piecewise) -> Tensor:
    """Exact outside of the octaves of the function, too: what comes after a norm does not depend on its scale.

    Rows that are nothing after the norm are right in any case, and stay nothing.
    """
    low, high = function.thresholds[0], function.thresholds[-1]
    squares, rehearsal.squares = rehearsal.squares, None
    something = torch.ones_like(sums, dtype=torch.bool) if squares is None else squares > _NOTHING * sums
    rows = sums[something] if rehearsal.thorough else sums.median()
    least, most = float(rows.min()) if rows.numel() else low, float(sums.max())
    if not (low <= least and most <= high):
        rehearsal.note(f"a norm takes sums of squares from {low:g} to {high:g}, not {least:.6g} to {most:.6g}")
    inside = sums.clamp(low, high)
    return function.reference(inside) * torch.where(something, (inside / sums).sqrt(), 1.0)


def _known_below(rehearsal: Rehearsal, x: Secret, limit: float, what: str, *, terms: int = 1) -> Secret:
    """What is added up as often as there are tokens is bounded for the longest input."""
    most = limit * terms / min(terms, rehearsal.tokens)
    return primitives.known_below.reference(rehearsal, x, most, what if terms == 1 else f"{what} ({rehearsal.tokens}),")


_NOTING = table(
    row(primitives.known_below, _known_below),
    row(secret.add, _add),
    row(secret.add_public, _add_public),
    row(primitives.square_sum, _square_sum),
    row(piecewise, _piecewise),
)


def _largest(x: Tensor) -> float:
    """The largest magnitude, or NaN; many times faster than magnitudes of all."""
    return float(torch.stack(torch.aminmax(x)).abs().max())


def rehearse(
    net: Network,
    tensors: Mapping[str, Tensor],
    inputs: Inputs,
    *,
    tables: Mapping[str, Tensor] | None = None,
    thorough: bool = False,
) -> Rehearsal:
    """The whole model on some inputs. tensors: the model's, by name. tables: the client's, with public weights.

    Raises InputError for inputs that a client would not be let to share.
    """
    request = net.request(net.whole_output, inputs)
    protocol = Rehearsal(
        net.manifest.policy, thorough=thorough, tokens=net.attended(request.tokens if thorough else None)
    )
    specs = net.input_specs(request, 0)
    elements = net.client_inputs(request, inputs, tables or {}, specs)
    secrets = {name: protocol.input(elements[name], spec.shape, spec.fraction_bits) for name, spec in specs.items()}
    net.forward(protocol, _Weights(protocol, tensors, net.manifest.parameters), request, secrets)
    return protocol


class _Weights(Mapping[str, ClearSecret]):
    """A model's tensors as a session sees them, each read anew when it is asked for."""

    def __init__(self, protocol: Rehearsal, tensors: Mapping[str, Tensor], specs: Mapping[str, ParameterSpec]) -> None:
        self._protocol, self._tensors, self._specs = protocol, tensors, specs

    def __getitem__(self, name: str) -> ClearSecret:
        return self._protocol.weight(name, self._specs[name], computed(self._tensors[name]))

    def __contains__(self, name: object) -> bool:
        return name in self._specs

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)
