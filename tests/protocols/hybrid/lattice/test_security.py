"""What a reply tells the client beyond its plaintext: without an encryption of zero all weights, with it nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("tenseal")

from secure.protocols.hybrid.lattice import packing
from secure.protocols.hybrid.lattice.parameters import DEGREE, FLOOD_BITS, MOST_NORM_BITS
from secure.protocols.hybrid.lattice.placement import Placement
from secure.protocols.hybrid.lattice.scheme import Owner
from tests.protocols.hybrid.lattice.layers import MASK, Array, combined, flood, make, sides, uniform
from tests.protocols.hybrid.lattice.reduction import reduced

TERMS, WEIGHT_BITS, EQUATIONS = 3, 16, 2
NO_MASK = np.zeros(DEGREE, dtype=np.uint64)


def layer() -> tuple[Placement, Array, Array]:
    """A layout with each feature in a polynomial of its own, weights, and the client's ciphertexts as it knows them."""
    _, client, owner = sides()
    residues = np.stack([owner.read(client.encrypt(plain)) for plain in uniform(TERMS, DEGREE)])
    weights = np.random.default_rng().integers(1, 1 << WEIGHT_BITS, (TERMS, 1))
    return Placement(DEGREE, TERMS), weights, residues


def attacked(reply: bytes, residues: Array) -> list[int]:
    """The weights as a client would find them that knows what it sent, from the reply's second polynomial alone.

    That is Σ w_j a_j, divided by the dropped prime q_1 and rounded; so Σ w_j a_j - q_1 reply is small mod Q = q_0 q_1.
    For two coefficients at once the weights are the short vector of a lattice.
    """
    first, second = sides()[0].primes
    modulus, inverse = first * second, pow(second, -1, first)

    def whole(residue: Array) -> int:
        low = int(residue[1])
        return low + second * ((int(residue[0]) - low) * inverse % first)

    polynomial = packing.unpack(reply[-packing.packed_bytes(DEGREE) :], DEGREE, first)
    scale = second >> WEIGHT_BITS
    rows = [
        [*(whole(residues[j, 1, :, i]) for i in range(EQUATIONS)), *(scale * (j == k) for k in range(TERMS)), 0]
        for j in range(TERMS)
    ]
    rows += [[*(modulus * (i == k) for k in range(EQUATIONS)), *[0] * (TERMS + 1)] for i in range(EQUATIONS)]
    rows.append([*(-second * int(polynomial[i]) for i in range(EQUATIONS)), *[0] * TERMS, second])
    shortest = next(row for row in reduced(rows) if row[-1])
    return [abs(value) // scale for value in shortest[EQUATIONS:-1]]


class WithoutZero:
    """What encrypts zero as nothing at all."""

    def encrypt_zero(self, into: Any) -> None:
        scheme, _, owner = sides()
        body = owner._prefix + bytes(8 * 2 * len(scheme.primes) * DEGREE)
        scheme.file.load(body, lambda path: into.load(scheme.context, path))


def test_the_encryption_of_zero_is_what_hides_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    scheme, _, owner = sides()
    layout, weights, residues = layer()
    total = combined(scheme, residues, layout, weights, layout.places)[0]
    ours = owner.reply(total.copy(), layout.places, NO_MASK, *flood())
    assert attacked(ours, residues) != weights[:, 0].tolist()
    monkeypatch.setattr(owner, "_encryptor", WithoutZero())
    bare = owner.reply(total.copy(), layout.places, NO_MASK, *flood())
    assert attacked(bare, residues) == weights[:, 0].tolist()


def test_replies_to_the_same_ciphertexts_have_nothing_in_common() -> None:
    scheme, client, owner = sides()
    layout, weights, residues = layer()
    total = combined(scheme, residues, layout, weights, layout.places)[0]
    replies = [owner.reply(total.copy(), layout.places, NO_MASK, *flood()) for _ in range(2)]
    split = packing.packed_bytes(DEGREE)
    polynomials = [[packing.unpack(part, DEGREE, scheme.primes[0]) for part in (r[:split], r[split:])] for r in replies]
    for first, second in zip(*polynomials, strict=True):
        assert (first != second).mean() > 0.999
    decrypted = [client.decrypt(reply, layout.places) for reply in replies]
    assert np.array_equal(*decrypted)  # without a mask they are the same number


def test_what_the_client_decrypts_is_masked() -> None:
    x, weights = np.zeros((DEGREE, 1, 1), dtype=np.uint64), np.array([[3]])
    layer = make(Placement(DEGREE, 1), x, weights)
    bits = np.unpackbits(layer.client.reshape(-1, 1).view(np.uint8)[:, :6])
    assert abs(bits.mean() - 0.5) < 6 * 0.5 / np.sqrt(bits.size)
    assert not ((layer.client + layer.owner) & MASK).any()


def test_the_flood_drowns_the_noise_of_the_largest_weights() -> None:
    """SEAL's own measure of the noise of a combination whose weights are as large as they may be."""
    scheme, client, owner = sides()
    layout = Placement(DEGREE, 2)
    weights = np.full((2, 1), (1 << (MOST_NORM_BITS - 1)) - 1)
    residues = np.stack([owner.read(client.encrypt(plain)) for plain in uniform(2, DEGREE)])
    total = combined(scheme, residues, layout, weights, layout.places)[0]
    ciphertext = scheme.ciphertext(owner._prefix + total.tobytes())
    budget = client._decryptor.invariant_noise_budget(ciphertext)
    room = sum(prime.bit_length() for prime in scheme.primes) - 48 - 1  # bits of noise that decryption bears
    assert room - budget <= FLOOD_BITS - 40
    fresh = scheme.ciphertext(owner._prefix + residues[0].tobytes())
    assert room - client._decryptor.invariant_noise_budget(fresh) <= 5


def test_each_client_has_a_key_of_its_own() -> None:
    scheme, client, _ = sides()
    other = type(client)(scheme)
    assert other.public_key != client.public_key
    places = np.arange(DEGREE)
    owner = Owner(scheme, other.public_key)
    plain = uniform(DEGREE)
    reply = owner.reply(owner.read(other.encrypt(plain)).copy(), places, NO_MASK, *flood())
    assert np.array_equal(other.decrypt(reply, places), plain)
    assert not np.array_equal(client.decrypt(reply, places), plain)


def test_a_ciphertext_is_fresh_each_time() -> None:
    _, client, _ = sides()
    zeros = np.zeros(DEGREE, dtype=np.uint64)
    first, second = client.encrypt(zeros), client.encrypt(zeros)
    assert first[:-64] != second[:-64] and first[-64:] != second[-64:]
