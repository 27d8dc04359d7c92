"""Oblivious transfers of keys from public-key operations: a few, from which `extension` makes many.

The sender holds two keys for each transfer, the receiver gets the one that its bit chooses: the sender does not learn
the bit, the receiver nothing of the other key. With B a base point of prime order:

    sender     a;    sends A = a B
    receiver   b_i;  sends R_i = b_i B + c_i A;   its key is  H(i, A, R_i, b_i A)
    sender     its keys are  H(i, A, R_i, a R_i)  and  H(i, A, R_i, a (R_i - A))

against parties that follow the protocol, if the computational Diffie-Hellman problem is hard on Ed25519 and H, SHA-256,
is a random oracle. Points that arrive must lie on the curve and be of the prime order: another one would tell whoever
sent it something of the scalar that it is multiplied by.

Source: Chou, Orlandi, The simplest protocol for oblivious transfer, 2015. The curve: RFC 8032.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from typing import Any

from secure.protocols.core.errors import ProtocolError
from secure.protocols.hybrid.packages import needed

KEY_BYTES = 16
POINT_BYTES = 64
_COORDINATE_BYTES = 32
_FIELD = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_BASE = (
    15112221349535400772501151409588531511454012693041857206046113283949847762202,
    46316835694926478169428394003475163141307993866256225615783033603165251855960,
)
_DOMAIN = b"secure-inference base transfer 1"


class BaseSender:
    """The side that gets both keys of every transfer."""

    def __init__(self) -> None:
        self._scalar = _scalar()
        self._point = _base() * self._scalar
        self.message = _packed(self._point)
        """What the receiver is sent: 64 bytes."""

    def keys(self, reply: bytes) -> list[tuple[bytes, bytes]]:
        """Both keys of each transfer, from the receiver's reply of 64 bytes for each.

        Raises ProtocolError for a reply that has no such size or a point that is none of the group.
        """
        found = []
        for i, point in enumerate(_points(reply)):
            of = (i, self.message, _packed(point))
            less = point + -self._point
            found.append((_key(*of, point * self._scalar), _key(*of, less * self._scalar)))
        return found


class BaseReceiver:
    """The side that chooses."""

    def __init__(self, choices: Sequence[int], message: bytes) -> None:
        """choices: a bit for each transfer. Raises ProtocolError for a message that is not the sender's."""
        points = _points(message)
        if len(points) != 1:
            raise ProtocolError("the sender of base transfers sends one point")
        self.keys: list[bytes] = []
        """The chosen key of each transfer."""
        reply = []
        for i, choice in enumerate(choices):
            scalar = _scalar()
            # Both sums are computed whatever the bit is, so that the time taken does not tell it.
            point = _base() * scalar
            point = (point, point + points[0])[choice]
            reply.append(_packed(point))
            self.keys.append(_key(i, message, reply[-1], points[0] * scalar))
        self.reply = b"".join(reply)
        """What the sender is sent: 64 bytes for each transfer."""


def _point(x: int, y: int) -> Any:
    """Raises ValueError where that is no point of the curve."""
    return needed("Crypto.PublicKey.ECC").construct(curve="Ed25519", point_x=x, point_y=y).pointQ


def _base() -> Any:
    return _point(*_BASE)


def _scalar() -> int:
    """Uniform, and not zero."""
    return 1 + secrets.randbelow(_ORDER - 1)


def _packed(point: Any) -> bytes:
    return b"".join(int(c).to_bytes(_COORDINATE_BYTES, "little") for c in point.xy)


def _points(message: bytes) -> list[Any]:
    """Raises ProtocolError unless these are points of the prime order."""
    if len(message) % POINT_BYTES:
        raise ProtocolError(f"a message of points has {len(message)} bytes, which is no multiple of {POINT_BYTES}")
    found = []
    for start in range(0, len(message), POINT_BYTES):
        first, second = (
            int.from_bytes(message[i : i + _COORDINATE_BYTES], "little") for i in (start, start + _COORDINATE_BYTES)
        )
        try:
            if max(first, second) >= _FIELD:
                raise ValueError
            point = _point(first, second)
        except ValueError:
            raise ProtocolError("what the peer sent for oblivious transfer is no point of the curve") from None
        if point.is_point_at_infinity() or not (point * _ORDER).is_point_at_infinity():
            raise ProtocolError("a point that the peer sent for oblivious transfer is not of the prime order")
        found.append(point)
    return found


def _key(number: int, sent: bytes, replied: bytes, point: Any) -> bytes:
    """Bound to the transfer's number and to what was sent both ways."""
    text = _DOMAIN + number.to_bytes(4, "little") + sent + replied + _packed(point)
    return hashlib.sha256(text).digest()[:KEY_BYTES]
