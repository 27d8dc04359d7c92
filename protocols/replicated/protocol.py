"""The replicated family: how its secrets are masked pairs, and who helps.

One party helps until the next linear layer, where another one takes its turn. A helper waits for nobody: it deals all
that follows while the other two still compute, as a dealer would, until it has to compute itself again.
Which gate comes next, and who helps, depends on shapes and rings only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.channel import Channel
from secure.protocols.core.cost import Cost, Meter
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.factor import IN_MEMORY, Keep
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.prg import Prg
from secure.protocols.core.secret import Parameter, Secret, Visibility
from secure.protocols.core.transfer import CPU
from secure.protocols.masked.gate import Gate, OpeningGate
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.protocol import Factors, truncation_shift
from secure.protocols.masked.sharing.three_parts import parts_of_zero
from secure.protocols.masked.weights import PublicMatrix, PublicWeight
from secure.protocols.replicated import forms
from secure.protocols.replicated.confirming import DIGEST_BYTES, ConfirmingChannel
from secure.protocols.replicated.gates.resharing import ReplicatedGate, Rescale, Reshare, in_this_setting
from secure.protocols.replicated.neighbours import Neighbours
from secure.protocols.replicated.programs import PROGRAMS
from secure.protocols.replicated.roles import PARTIES, Evaluator, Helper, roles_of
from secure.protocols.replicated.secret import ReplicatedSecret
from secure.protocols.replicated.seeds import PartySeeds
from secure.protocols.replicated.shares import Side, additive, pair_of
from secure.protocols.replicated.weights import HelpedMatrix, SharedWeight

Result = TypeVar("Result")


def declared_cost(gate: Gate[Any]) -> Cost:
    """What a gate costs here, where nothing is dealt ahead."""
    return gate.cost() if isinstance(gate, ReplicatedGate) else in_this_setting(gate.cost())


def name_in_meter(gate: Gate[Any]) -> str:
    """The op that a gate counts as."""
    return gate.opening.name if isinstance(gate, Rescale) else gate.name


class ReplicatedParty(forms.Replicated):
    """Computing party 0, 1 or 2 of one session.

    to_next: the channel to party index + 1; to_previous: to party index - 1 (mod 3).
    helper: who helps in the gates that come.
    """

    full_products = False

    def __init__(
        self,
        index: int,
        seeds: PartySeeds,
        session: bytes,
        to_next: Channel,
        to_previous: Channel,
        policy: FixedPointPolicy,
        *,
        meter: Meter | None = None,
        on_layer: Callable[[str], None] | None = None,
        device: torch.device = CPU,
    ) -> None:
        super().__init__(ReplicatedSecret, PROGRAMS, device, policy, on_layer)
        self.index = index
        self.meter = meter or Meter()
        pairwise = seeds.with_next, seeds.with_previous
        ends = zip((to_next, to_previous), pairwise, strict=True)
        self._ends = [ConfirmingChannel(end, seed, session, f"p{index}") for end, seed in ends]
        self._roles = roles_of(index, pairwise, session, self._ends[0], self._ends[1], self.meter, device)
        self.neighbours = Neighbours(index, seeds, session, self._ends[0], self._ends[1], self.meter)
        self._common = Prg(seeds.common, session)
        self._revealed = 0
        # Sessions begin with any of the three, so that small models wear them out evenly, too.
        self.helper = sum(session) % PARTIES

    @property
    def role(self) -> Side:
        return self._roles[self.helper]

    def run(self, gate: Gate[Result]) -> Result:
        role = self.role
        role.begin_gate()
        with self.meter.gate(self.layer_name, name_in_meter(gate), declared_cost(gate)):
            result = gate.run(role)
            if isinstance(role, Helper):
                role.flush()
            return result

    def turn_to(self, matrix: Any) -> None:
        self.helper = matrix.helper if isinstance(matrix, HelpedMatrix) else (self.helper + 1) % PARTIES

    def pair(self, x: Secret, bits: int, *, dealt: bool = True) -> Pair:
        """What has a use for the mask is often a factor of a product next: it stays in a ring that is large enough."""
        most = max(bits, forms.PRODUCT_BITS) if dealt else bits
        return pair_of(self.role, forms.shares_in(self, self.own(x), bits, larger=most).low(most))

    def share(self, x: Secret, bits: int) -> tuple[Tensor, int]:
        shares = forms.shares_in(self, self.own(x), bits)
        return additive(self.role, shares), shares.bits

    def shared(self, x: Secret, bits: int, *, soon: int | None = None) -> ReplicatedSecret:
        larger = ring.WORD_BITS if soon is None else max(soon, forms.PRODUCT_BITS)
        return ReplicatedSecret(self, x.fraction_bits, forms.shares_in(self, self.own(x), bits, larger=larger))

    def scaled_up(self, x: Secret, fraction_bits: int) -> ReplicatedSecret:
        return ReplicatedSecret(self, fraction_bits, forms.scaled_shares(self, x, fraction_bits))

    def factors(self, x: Secret, y: Secret, bits: int) -> Factors:
        """Nothing is gained by a larger ring than both have: where one is large enough, the other is lifted to it."""
        secrets = self.own(x), self.own(y)
        largest = min([s.bits for s in secrets if s.bits >= bits], default=ring.WORD_BITS)
        first, second = (forms.shares_in(self, s, bits, larger=largest).low(largest) for s in secrets)
        return Factors(pair_of(self.role, first), pair_of(self.role, second), additive(self.role, second))

    def left_factor(self, x: Secret, matrix: HelpedMatrix, bits: int, *, whole: bool) -> Pair:
        return pair_of(self.role, forms.shares_in(self, self.own(x), bits))

    def of_share(self, share: Tensor, bits: int, fraction_bits: int) -> ReplicatedSecret:
        return ReplicatedSecret(self, fraction_bits, self.run(Reshare(share, bits)))

    def opened(
        self, gate: OpeningGate, bits: int, scale: int, fraction_bits: int, *, unopened: Gate[Tensor] | None = None
    ) -> ReplicatedSecret:
        """What is opened is also what brings a product back to replicated shares."""
        shift = truncation_shift(scale, fraction_bits)
        if not shift or self.policy.truncation != "exact":
            return ReplicatedSecret(self, fraction_bits, self.run(Rescale(gate, bits, shift)))
        return forms.floor(self, self.run(gate), shift, fraction_bits)

    def plus_public(self, x: Secret, number: Tensor) -> ReplicatedSecret:
        shares = self.own(x).shares.plus(forms.public_shares(self.index, number))
        return ReplicatedSecret(self, x.fraction_bits, shares)

    # -- ends of the program ---------------------------------------------------------------------------------------

    def input(
        self, share: Tensor | None, shape: tuple[int, ...], fraction_bits: int, bits: int = 64
    ) -> ReplicatedSecret:
        """A secret from the two parts that a client or model owner made. Shapes: share [2, *shape]."""
        shares = forms.shares_given(share, shape, bits)
        return ReplicatedSecret(self, fraction_bits, shares.map(lambda t: t.to(self.device)))

    def confirm(self, held: Sequence[bytes | memoryview]) -> None:
        """Tell the next party and the previous one a digest of what each has, too. See `ConfirmingChannel`."""
        sent = len(self._ends) * DIGEST_BYTES
        with self.meter.gate("input", "confirm", Cost(online_bytes=sent)):
            for end, part in zip(self._ends, held, strict=True):
                end.confirm(part)
            self.meter.sent(sent)

    def reveal(self, x: Secret, bits: int = ring.WORD_BITS) -> Tensor:
        """This party's two parts of x in Z_2^bits, made fresh, for the client. Shapes: -> [2, *shape].

        The parts of x may tell the owner of all three about what happened inside: a truncation's opened value is one
        of them. So a sharing of zero from the seed that all three parties have, and the client does not, is added.

        Raises InputError where the client gave another party another share of its input: see `confirm`.
        """
        for end in self._ends:
            end.settle()
        shares = forms.shares_in(self, self.own(x), bits, larger=bits)
        shape = tuple(shares.own.shape)
        masks = parts_of_zero(self._common, self._revealed, shape, self.device)
        self._revealed += 1
        own, following = masks[self.index], masks[(self.index + 1) % PARTIES]
        # Reduced only now: what bits above the ring hold depends on masks, and whole bytes are sent.
        return ring.low(torch.stack([shares.own + own, shares.following + following]), bits)

    def prepare(
        self,
        parameter: Parameter,
        given: Tensor | None,
        visibility: Visibility = Visibility.PRIVATE,
        keep: Keep = IN_MEMORY,
    ) -> SharedWeight | HelpedMatrix | PublicWeight | PublicMatrix:
        """Local: a factor of products is kept in the form that this party's role in them takes."""
        if visibility is Visibility.SERVER:
            raise ProtocolError("of three equal parties none holds a model in the clear; split it with private weights")
        if visibility is Visibility.PUBLIC:
            return self._prepared_public(parameter, given, keep)
        shares = self.input(given, parameter.shape, parameter.fraction_bits, parameter.bits).shares
        if not parameter.is_matrix:
            return SharedWeight(shares, parameter.fraction_bits)
        self.turn_to(None)
        pair = pair_of(self.role, shares)
        assert pair.mask is not None
        kept = [pair.mask] if self.at_dealer else [additive(self.role, shares), -pair.opened]
        factor = keep(kept, parameter.bits)
        return HelpedMatrix(factor, parameter.shape, parameter.fraction_bits, parameter.bits, self.helper)

    def _prepared_public(self, parameter: Parameter, values: Tensor | None, keep: Keep) -> PublicWeight | PublicMatrix:
        if values is None:
            raise ProtocolError("a public tensor was not given")
        on_device = values.to(self.device)
        if not parameter.is_matrix:
            return PublicWeight(on_device, parameter.fraction_bits)
        return PublicMatrix(keep([on_device], ring.WORD_BITS), parameter.shape, parameter.fraction_bits)

    def bind(self, prepared: SharedWeight | PublicWeight) -> ReplicatedSecret:
        """A prepared tensor as a secret of this session."""
        if isinstance(prepared, PublicWeight):
            shares = forms.public_shares(self.index, prepared.values)
        else:
            shares = prepared.shares
        return ReplicatedSecret(self, prepared.fraction_bits, shares)

    def finish(self) -> None:
        """The last act of a program. Raises ProtocolError when a helper sent more than the program used."""
        for role in self._roles:
            if isinstance(role, Evaluator):
                role.finish()
