"""The protocol of three evaluators and a dealer: each evaluator runs a program for two parts at once.

A program sees one execution, with secrets of two parts. Each primitive is evaluated for both, in step, by the programs
and gates of two parties and a dealer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from secure.protocols.core import primitives, ring
from secure.protocols.core.channel import Channel
from secure.protocols.core.cost import Cost, Meter, MeterRow
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.factor import IN_MEMORY, Keep
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.prg import Prg
from secure.protocols.core.secret import P, Parameter, Primitive, Protocol, Secret, Visibility, row, table
from secure.protocols.masked import lanes
from secure.protocols.masked.ahead import Ahead
from secure.protocols.masked.dealt.programs import DEALT_ROWS
from secure.protocols.masked.dealt.protocol import DealtProtocol
from secure.protocols.masked.dealt.secret import DealtSecret
from secure.protocols.masked.gate import Gate
from secure.protocols.masked.outline import Outline
from secure.protocols.masked.roles import Dealer
from secure.protocols.masked.sharing.three_parts import parts_of_zero, two_parts_given
from secure.protocols.witnessed.gates import check_gate
from secure.protocols.witnessed.lockstep import in_step
from secure.protocols.witnessed.one_hot import checked_one_hot
from secure.protocols.witnessed.preparing import OpenedOnce
from secure.protocols.witnessed.roles import PARTS, PartOf, ThreePartDealer
from secure.protocols.witnessed.secret import PreparedParts, WitnessedSecret
from secure.protocols.witnessed.witness import ROUND_BYTES, Witness

Result = TypeVar("Result")
PROGRAMS = table(*DEALT_ROWS, row(primitives.checked_one_hot, checked_one_hot))
COMPARING = "digests", "compare"
"""The row of costs that digests are."""


class Side(DealtProtocol):
    """One part's execution, or the dealer's."""

    # A share without its low bits is no affine function of it, and what evaluators send is to be one: see COMPUTED.
    coarse_openings = False

    def __init__(
        self, role: PartOf | ThreePartDealer | Outline, policy: FixedPointPolicy, on_layer: Callable[[str], None] | None
    ) -> None:
        super().__init__(PROGRAMS, role, policy, on_layer)

    def run(self, gate: Gate[Result]) -> Result:
        check_gate(gate)
        if isinstance(self.role, PartOf):
            self.role.gate_name = gate.name
        return super().run(gate)

    def prepare(
        self,
        parameter: Parameter,
        given: Tensor | None,
        visibility: Visibility = Visibility.PRIVATE,
        keep: Keep = IN_MEMORY,
    ) -> Any:
        """Raises ProtocolError for weights that one party holds in the clear."""
        if visibility is Visibility.SERVER:
            raise ProtocolError(
                "weights that one party holds in the clear (weights='server') are not for security='malicious': no "
                "other evaluator could check that party; split the model with private weights"
            )
        return super().prepare(parameter, given, visibility, keep)


class WitnessedParty(Protocol):
    """Evaluator 0, 1 or 2 of one session.

    to_next, to_previous: channels to evaluators index + 1 and index - 1 (mod 3). dealer: from the dealer, or what it
    has dealt ahead, where this evaluator holds the part that is sent.
    """

    def __init__(
        self,
        index: int,
        seeds: tuple[bytes, bytes],
        session: bytes,
        to_next: Channel,
        to_previous: Channel,
        dealer: Channel | None,
        policy: FixedPointPolicy,
        *,
        common_seed: bytes,
        deal: bytes | None = None,
        meter: Meter | None = None,
        on_layer: Callable[[str], None] | None = None,
        ahead: Sequence[Ahead] | None = None,
    ) -> None:
        """seeds: of parts index and index + 1, which the dealer has, too. common_seed: what all evaluators have.

        deal: the 16 bytes under which correlations were dealt ahead; None where they are dealt in this session.
        ahead: what this evaluator computed before of both parts. Raises ProtocolError for that of another deal.
        """
        super().__init__(policy, on_layer)
        if (dealer is None) != (index == 0):
            raise ProtocolError("evaluators 1 and 2 have a channel from the dealer, evaluator 0 has none")
        meter = meter or Meter()
        self.index = index
        deal = session if deal is None else deal
        # Masks follow from the deal; what must be fresh in each session follows from all three.
        beginning = session + deal + common_seed
        self.role = Witness(index, beginning, to_next, to_previous, dealer, meter)
        self._digests = ComparingCost(meter)
        numbers = [(index + step) % PARTS for step in range(2)]
        if ahead is not None and [(each.index, each.session) for each in ahead] != [(each, deal) for each in numbers]:
            raise ProtocolError("what was computed ahead is of another deal, or of other parts")
        products: Sequence[dict[int, Tensor] | None] = (
            [None, None] if ahead is None else [each.products for each in ahead]
        )
        own, following = (
            PartOf(number, seed, deal, beginning, reports_to, self.role.judge, made)
            for number, seed, reports_to, made in zip(numbers, seeds, (meter, _Quietly(meter)), products, strict=True)
        )
        self._parts = own, following
        self.sides = Side(own, policy, None), Side(following, policy, None)
        self._common = Prg(common_seed, session)
        self._revealed = 0

    def together(self, *branches: Callable[[], Secret]) -> tuple[Secret, ...]:
        return lanes.together(self.role, self.layer_name, branches)

    @contextmanager
    def meanwhile(self, layer: str, branch: Callable[[], object]) -> Iterator[None]:
        with lanes.meanwhile(self.role, layer, branch):
            yield

    def apply(self, primitive: Primitive[P], x: Secret, *args: P.args, **kwargs: P.kwargs) -> Secret:
        def of(which: int, side: Side) -> DealtSecret:
            given = [self._seen(each, which) for each in (x, *args)]
            named = {name: self._seen(each, which) for name, each in kwargs.items()}
            result = side.apply(primitive, *given, **named)
            assert isinstance(result, DealtSecret)
            return result

        return WitnessedSecret(self, self.for_both(of))

    def for_both(self, program: Callable[[int, Side], Result]) -> tuple[Result, Result]:
        """A piece of program for both parts, in step. It is given 0 and the own part's execution, or 1 and the other's.

        Raises PartyDeviates where an evaluator does not follow the protocol.
        """
        for side in self.sides:
            side.layer_name, side.profile = self.layer_name, self.profile
        return in_step(self.role, self._parts, [partial(program, *each) for each in enumerate(self.sides)])

    def _seen(self, value: Any, which: int) -> Any:
        """An argument of a primitive as one part has it."""
        if isinstance(value, WitnessedSecret):
            if value.protocol is not self:
                raise ProtocolError("a secret of another protocol or session was passed in")
            return value.parts[which]
        if isinstance(value, Secret):
            raise ProtocolError("a secret of another protocol or session was passed in")
        if isinstance(value, PreparedParts):
            return value.parts[which]
        if type(value) in (list, tuple):
            return [self._seen(each, which) for each in value]
        return value

    # -- ends of the program ---------------------------------------------------------------------------------------

    def input(self, share: Tensor | None, shape: tuple[int, ...], fraction_bits: int, bits: int = 64) -> Secret:
        """A secret from the two parts that a client or model owner made. Shapes: share [2, *shape]."""
        given = two_parts_given(share, shape)
        own, following = (side.input(given[i], shape, fraction_bits, bits) for i, side in enumerate(self.sides))
        assert isinstance(own, DealtSecret) and isinstance(following, DealtSecret)
        return WitnessedSecret(self, (own, following))

    def reveal(self, x: Secret, bits: int = ring.WORD_BITS) -> Tensor:
        """Fresh parts of x in Z_2^bits for the client, who compares what comes twice. Shapes: -> [2, *shape].

        They are as fresh as they must be for a client alone: an evaluator that colludes with it has two of the parts,
        and the third follows from them and from x. Send nothing of it before `end_step`.
        """
        shares = self.for_both(lambda which, side: side.reveal(self._seen(x, which), bits))
        shape = tuple(shares[0].shape)
        masks = parts_of_zero(self._common, self._revealed, shape, shares[0].device)
        self._revealed += 1
        fresh = [share + masks[(self.index + step) % PARTS] for step, share in enumerate(shares)]
        # Reduced only now: what bits above the ring hold depends on masks, and whole bytes are sent.
        return ring.low(torch.stack(fresh), bits)

    def prepare(
        self,
        parameter: Parameter,
        given: Tensor | None,
        visibility: Visibility = Visibility.PRIVATE,
        keep: Keep = IN_MEMORY,
    ) -> PreparedParts:
        if visibility is Visibility.PUBLIC:
            one = self.sides[0].prepare(parameter, given, visibility, keep)
            return PreparedParts((one, one))
        parts = (None, None) if visibility is Visibility.SERVER else two_parts_given(given, parameter.shape)
        once = OpenedOnce(keep)
        keeps: tuple[Keep, Keep] = once.own, once.following
        return PreparedParts(
            self.for_both(lambda which, side: side.prepare(parameter, parts[which], visibility, keeps[which]))
        )

    def bind(self, prepared: PreparedParts) -> Secret:
        """A prepared tensor as a secret of this session."""
        own, following = (side.bind(part) for side, part in zip(self.sides, prepared.parts, strict=True))
        return WitnessedSecret(self, (own, following))

    def end_step(self) -> None:
        """One empty round: what the last one opened is compared before anything of it leaves. Raises PartyDeviates."""
        with self._digests.step():
            self.role.exchange(memoryview(b""), 0)
            self._digests.sent(self.role.rounds)

    def finish(self) -> None:
        """The last act of a program. Raises PartyDeviates, and ProtocolError where the dealer sent too much."""
        if self._digests.due:
            self.end_step()
        if self.role.place.left:
            raise ProtocolError("the dealer sent more than was used; it runs a different program or version")


class WitnessedDealer(Side):
    """The dealer of one session: runs the same program on shapes. kind: what it is in gates."""

    kind: ClassVar[type[ThreePartDealer]] = ThreePartDealer

    def __init__(
        self,
        seeds: tuple[bytes, bytes, bytes],
        session: bytes,
        to_p1: Channel,
        to_p2: Channel,
        policy: FixedPointPolicy,
        *,
        meter: Meter | None = None,
        on_layer: Callable[[str], None] | None = None,
    ) -> None:
        """seeds: of the three parts."""
        meter = meter or Meter()
        super().__init__(self.kind(seeds, session, (to_p1, to_p2), meter), policy, on_layer)
        self._digests = ComparingCost(meter)

    def end_step(self) -> None:
        """Send what is still buffered: the client goes on only when the evaluators have finished the step."""
        assert isinstance(self.role, Dealer)
        self.role.flush()
        with self._digests.step():
            pass

    def finish(self) -> None:
        """The last act of a program."""
        if self._digests.due:
            self.end_step()
        assert isinstance(self.role, Dealer)
        self.role.flush()


class ComparingCost:
    """What digests cost, declared from the rounds that the program declared, and measured from those that were made."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._declared = 0
        self._made = 0

    @property
    def due(self) -> bool:
        """Whether rounds were made since the last comparison by itself."""
        return self._meter.declared_rounds != self._declared

    @contextmanager
    def step(self) -> Iterator[None]:
        """A step's last comparison is in the block."""
        with self._meter.gate(*COMPARING, self.declare()):
            yield
        self.declared()

    def declare(self) -> Cost:
        """What the digests of all rounds since the last comparison by itself cost, and of that one."""
        return Cost(1, ROUND_BYTES * (self._meter.declared_rounds - self._declared + 1))

    def declared(self) -> None:
        """The rounds until now are paid for."""
        self._declared = self._meter.declared_rounds

    def sent(self, rounds: int) -> None:
        """So many rounds were made in this session until now."""
        self._meter.exchanged(ROUND_BYTES * (rounds - self._made))
        self._made = rounds


class _Quietly(Meter):
    """What the second part reports to: the evaluator's meter, which does not count again what both do."""

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self._meter = meter

    @contextmanager
    def gate(self, layer: str, op: str, declared: Cost) -> Iterator[None]:
        self._meter.turn_to(self._meter.rows.setdefault((layer, op), MeterRow()))
        try:
            yield
        finally:
            self._meter.turn_to(MeterRow())

    def exchanged(self, sent_bytes: int, rounds: int = 1) -> None:
        """The own part has said so."""

    def dealt(self, dealer_bytes: int) -> None:
        self._meter.dealt(dealer_bytes)
