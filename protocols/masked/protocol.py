"""What a family of masked pairs supplies: a few verbs, over which every primitive is written once.

A program asks for a secret as a masked pair in so many bits, has a gate evaluated (or dealt), and hands its result
back. How pairs come about, whether something is opened for them or lifted, and what a result is kept as, is the
family's own. Which gate comes next depends on shapes and rings only, so that all roles walk through the same sequence.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar, cast

import torch
from torch import Tensor

from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.secret import P, Primitive, Protocol, Secret, Table
from secure.protocols.masked import lanes
from secure.protocols.masked.gate import Gate, OpeningGate, bits_to_drop
from secure.protocols.masked.gates.opening import Open
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.roles import Dealer, Party

Result = TypeVar("Result")


class MaskedSecret(Secret):
    """A secret of a family of masked pairs."""

    @property
    @abstractmethod
    def bits(self) -> int:
        """The smallest ring in which it is held: x is in Z_2^bits there, |x| < 2^(bits - 2)."""


S = TypeVar("S", bound=MaskedSecret, covariant=True)


class Factors(NamedTuple):
    """Two factors of a product: pairs of both, masks dealt, and a share of the second."""

    x: Pair
    y: Pair
    y_share: Tensor


class MaskedProtocol(Protocol, Generic[S]):
    """An execution whose primitives are programs over masked pairs.

    Shares are additive between the two roles that evaluate; whoever deals has a shape instead.

    device: where this machine keeps what all parties know; the meta device where it needs the shapes alone.
    """

    full_products: ClassVar[bool]
    """Whether products with public numbers are computed in the full ring, and not in the least one that takes them."""

    coarse_openings: ClassVar[bool] = False
    """Whether what is truncated is opened without low bits that it does not need, as `OpeningGate` says."""

    def __init__(
        self,
        secrets: type[S],
        programs: Table,
        device: torch.device,
        policy: FixedPointPolicy,
        on_layer: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(policy, on_layer)
        self._secrets = secrets
        self._programs = programs
        self.device = device

    def apply(self, primitive: Primitive[P], x: Secret, *args: P.args, **kwargs: P.kwargs) -> Secret:
        return self._programs[primitive](self, x, *args, **kwargs)

    def together(self, *branches: Callable[[], Secret]) -> tuple[Secret, ...]:
        return lanes.together(self.role, self.layer_name, branches)

    def own(self, x: Secret) -> S:
        """x itself, or a copy for the branch that shares its rounds.

        Raises ProtocolError for a secret of another protocol or session.
        """
        if not isinstance(x, self._secrets) or x.protocol is not self:
            raise ProtocolError("a secret of another protocol or session was passed in")
        own = self.role.place.own
        if own is None:
            return x
        if x not in own:
            copy = x.map(lambda t: t)
            own[x] = own[copy] = copy
        return cast(S, own[x])

    @property
    @abstractmethod
    def role(self) -> Party | Dealer:
        """What this machine is in the gates that come."""

    @property
    def at_dealer(self) -> bool:
        """Whether this machine deals in the gates that come."""
        return isinstance(self.role, Dealer)

    @abstractmethod
    def run(self, gate: Gate[Result]) -> Result:
        """Deal or evaluate one gate and attribute its cost to the current layer."""

    # -- forms of a secret -----------------------------------------------------------------------------------------

    @abstractmethod
    def pair(self, x: Secret, bits: int, *, dealt: bool = True) -> Pair:
        """x masked, in a ring of at least `bits` bits. dealt: whether the gate needs shares of the mask."""

    @abstractmethod
    def share(self, x: Secret, bits: int) -> tuple[Tensor, int]:
        """An additive share of x, and the ring that it is in, of at least `bits` bits."""

    @abstractmethod
    def shared(self, x: Secret, bits: int, *, soon: int | None = None) -> S:
        """x in shares alone, in a ring of at least `bits` bits.

        soon: the ring that what follows takes, if that is known: where x has to be lifted, it may be lifted so far.
        """

    @abstractmethod
    def scaled_up(self, x: Secret, fraction_bits: int) -> S:
        """x at that scale or a finer one, in a ring that holds the policy's values there, and at hand as a share."""

    @abstractmethod
    def factors(self, x: Secret, y: Secret, bits: int) -> Factors:
        """Both as factors of a product that takes a ring of `bits` bits."""

    @abstractmethod
    def left_factor(self, x: Secret, matrix: Any, bits: int, *, whole: bool) -> Pair:
        """x as the left factor of a product with a prepared matrix, in a ring of at least `bits` bits.

        whole: those bits are all that the matrix has, so that a wider ring gains nothing.
        """

    def widened(self, x: Secret, bits: int, *, soon: int | None = None) -> S:
        """x in a ring of at least `bits` bits, in all forms in which it is held; `soon` as for `shared`."""
        own = self.own(x)
        return own if own.bits >= bits else self.shared(own, bits, soon=soon)

    # -- what comes back -------------------------------------------------------------------------------------------

    @abstractmethod
    def of_share(self, share: Tensor, bits: int, fraction_bits: int) -> S:
        """The secret of an additive share in Z_2^bits."""

    @abstractmethod
    def opened(
        self, gate: OpeningGate, bits: int, scale: int, fraction_bits: int, *, unopened: Gate[Tensor] | None = None
    ) -> S:
        """The secret of what `gate` opens in Z_2^bits, truncated from `scale` to `fraction_bits`.

        unopened: where nothing is truncated, a gate for the same as a share, which will do.

        Raises ProtocolError where that is no smaller scale.
        """

    @abstractmethod
    def plus_public(self, x: Secret, number: Tensor) -> S:
        """x + number, a ring element at x's scale, in x's own ring, which the sum must fit."""

    def result(self, share: Tensor, bits: int, scale: int, fraction_bits: int) -> S:
        """The secret of an additive share in Z_2^bits, truncated if it must be."""
        if scale == fraction_bits:
            return self.of_share(share, bits, scale)
        return self.opened(Open(share, bits), bits, scale, fraction_bits)

    def public(self, y: Tensor | float, fraction_bits: int) -> Tensor:
        """Public numbers in the ring."""
        numbers = torch.as_tensor(y, dtype=torch.float64)
        return torch.round(numbers * 2.0**fraction_bits).to(torch.int64).to(self.device)

    def turn_to(self, matrix: Any) -> None:
        """A linear layer begins: where computing parties take turns, the next one helps from here on."""


Masked = MaskedProtocol[MaskedSecret]
"""What programs run on."""


def dropped_bits(masked: MaskedProtocol[Any], bits: int, shift: int) -> int:
    """How many low bits of a number in Z_2^bits are not opened for a truncation by `shift`: a floor needs all."""
    coarse = masked.coarse_openings and shift and masked.policy.truncation != "exact"
    return bits_to_drop(bits, shift) if coarse else 0


def truncation_shift(scale: int, fraction_bits: int) -> int:
    """How many bits a truncation drops. Raises ProtocolError where that is no smaller scale."""
    if fraction_bits > scale:
        raise ProtocolError(f"cannot truncate from {scale} to {fraction_bits} fraction bits")
    return scale - fraction_bits
