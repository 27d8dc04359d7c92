"""SEAL's BFV with ciphertexts as arrays of residues: the client's side, which has the key, and the owner's.

SEAL makes keys, encrypts, adds an encryption of zero and the mask, drops a prime, decrypts. What the owner multiplies
is an array of residues, and an exact product of integers: see `secure.protocols.hybrid.lattice.combine`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from secure.protocols.core.errors import ConfigurationError, ProtocolError
from secure.protocols.core.kernels.cpu.compiler import Array, compiled
from secure.protocols.hybrid.lattice import files, packing
from secure.protocols.hybrid.lattice.combine import add_multiple
from secure.protocols.hybrid.lattice.parameters import DEGREE, FLOOD_BITS, PLAIN_BITS, PRIME_BITS, SEED_BYTES
from secure.protocols.hybrid.packages import needed

PRIMES = len(PRIME_BITS) - 1
"""Primes of a ciphertext; a reply has one."""
POLYNOMIALS = 2
_HIGH_BITS = 60


class Scheme:
    """The parameters as SEAL holds them. Raises ConfigurationError where SEAL finds them insecure or wrong."""

    def __init__(self) -> None:
        self.seal = seal = needed("tenseal.sealapi")
        moduli = seal.CoeffModulus.Create(DEGREE, list(PRIME_BITS))
        parameters = seal.EncryptionParameters(seal.SCHEME_TYPE.BFV)
        parameters.set_poly_modulus_degree(DEGREE)
        parameters.set_coeff_modulus(moduli)
        parameters.set_plain_modulus(seal.Modulus(1 << PLAIN_BITS))
        self.context = seal.SEALContext(parameters, True, seal.SEC_LEVEL_TYPE.TC128)
        if not self.context.parameters_set():
            raise ConfigurationError(f"SEAL refuses the parameters: {self.context.parameters_error_message()}")
        self.all_primes = tuple(int(modulus.value()) for modulus in moduli)
        self.primes = self.all_primes[:PRIMES]
        self.file = files.MemoryFile()

    def plaintext(self, values: Array) -> Any:
        """Shapes: uint64 [N], below t."""
        plain = self.seal.Plaintext()
        self.file.load(files.plaintext(values), lambda path: plain.load(self.context, path))
        return plain

    def ciphertext(self, body: bytes) -> Any:
        """From the body of a file."""
        found = self.seal.Ciphertext()
        self.file.load(body, lambda path: found.load(self.context, path))
        return found


def public_key_bytes() -> int:
    """The size of the client's public key on the wire."""
    return POLYNOMIALS * len(PRIME_BITS) * packing.packed_bytes(DEGREE)


def encrypted_bytes() -> int:
    """The size of a fresh ciphertext: one polynomial, and the seed of the other."""
    return PRIMES * packing.packed_bytes(DEGREE) + SEED_BYTES


def reply_bytes(places: int) -> int:
    """The size of a reply with so many coefficients of its first polynomial."""
    return packing.packed_bytes(places) + packing.packed_bytes(DEGREE)


class KeyHolder:
    """Who encrypts and decrypts. Its secret key is fresh, and is used for one making."""

    def __init__(self, scheme: Scheme) -> None:
        seal = scheme.seal
        generator, self._public = seal.KeyGenerator(scheme.context), seal.PublicKey()
        generator.create_public_key(self._public)
        self._encryptor = seal.Encryptor(scheme.context, self._public, generator.secret_key())
        self._decryptor = seal.Decryptor(scheme.context, generator.secret_key())
        self._scheme = scheme
        # Where a reply's words go: what precedes them is that of any ciphertext with one prime.
        zero = seal.Ciphertext()
        self._encryptor.encrypt_zero(zero)
        seal.Evaluator(scheme.context).mod_switch_to_next_inplace(zero)
        self._prefix, _ = files.words_of(scheme.file.saved(zero.save), POLYNOMIALS * DEGREE)

    @property
    def public_key(self) -> bytes:
        """What the owner is sent, once for a making."""
        count = POLYNOMIALS * len(PRIME_BITS) * DEGREE
        _, words = files.words_of(self._scheme.file.saved(self._public.save), count)
        return b"".join(packing.pack(row) for row in words.reshape(-1, DEGREE))

    def encrypt(self, values: Array) -> bytes:
        """Shapes: uint64 [N], below t -> `encrypted_bytes()`."""
        fresh = self._encryptor.encrypt_symmetric(self._scheme.plaintext(values))
        _, words, tail = files.seeded(self._scheme.file.saved(fresh.save), PRIMES * DEGREE)
        return b"".join(packing.pack(row) for row in words.reshape(PRIMES, DEGREE)) + tail[-SEED_BYTES:]

    def decrypt(self, reply: bytes | memoryview, places: Array) -> Array:
        """The coefficients at those places. Shapes: `reply_bytes(n)`, int64 [n] -> uint64 [n].

        Raises ProtocolError for a reply of another size, or that is no ciphertext.
        """
        split, prime = packing.packed_bytes(len(places)), self._scheme.primes[0]
        words = np.zeros((POLYNOMIALS, DEGREE), dtype=np.uint64)
        words[0, places] = packing.unpack(reply[:split], len(places), prime)
        words[1] = packing.unpack(reply[split:], DEGREE, prime)
        plain = self._scheme.seal.Plaintext()
        self._decryptor.decrypt(self._scheme.ciphertext(self._prefix + words.tobytes()), plain)
        return files.coefficients(self._scheme.file.saved(plain.save), DEGREE)[places]


class Owner:
    """Who computes on the client's ciphertexts with numbers of its own."""

    def __init__(self, scheme: Scheme, public_key: bytes | memoryview) -> None:
        """Raises ProtocolError for a key of another size, or that is none."""
        if len(public_key) != public_key_bytes():
            raise ProtocolError(f"the client's public key has {len(public_key)} bytes, due are {public_key_bytes()}")
        self._scheme, seal = scheme, scheme.seal
        self._evaluator = seal.Evaluator(scheme.context)
        # SEAL's own objects show what precedes the words in a file.
        generator, sample = seal.KeyGenerator(scheme.context), seal.PublicKey()
        generator.create_public_key(sample)
        prefix, _ = files.words_of(scheme.file.saved(sample.save), POLYNOMIALS * len(PRIME_BITS) * DEGREE)
        row = packing.packed_bytes(DEGREE)
        rows = [
            packing.unpack(public_key[i * row : (i + 1) * row], DEGREE, scheme.all_primes[i % len(PRIME_BITS)])
            for i in range(POLYNOMIALS * len(PRIME_BITS))
        ]
        key = seal.PublicKey()
        scheme.file.load(prefix + np.concatenate(rows).tobytes(), lambda path: key.load(scheme.context, path))
        self._encryptor = seal.Encryptor(scheme.context, key, generator.secret_key())
        fresh = self._encryptor.encrypt_symmetric(scheme.plaintext(np.zeros(DEGREE, dtype=np.uint64)))
        self._seeded, _, self._tail = files.seeded(scheme.file.saved(fresh.save), PRIMES * DEGREE)
        zero = seal.Ciphertext()
        self._encryptor.encrypt_zero(zero)
        self._prefix, _ = files.words_of(scheme.file.saved(zero.save), POLYNOMIALS * PRIMES * DEGREE)

    def read(self, payload: bytes | memoryview) -> Array:
        """A fresh ciphertext's residues. Shapes: `encrypted_bytes()` -> uint64 [2, primes, N].

        Raises ProtocolError for a payload of another size, or that is no ciphertext.
        """
        if len(payload) != encrypted_bytes():
            raise ProtocolError(f"a ciphertext of {len(payload)} bytes, due are {encrypted_bytes()}")
        row = packing.packed_bytes(DEGREE)
        words = [
            packing.unpack(payload[i * row : (i + 1) * row], DEGREE, prime)
            for i, prime in enumerate(self._scheme.primes)
        ]
        tail = self._tail[:-SEED_BYTES] + bytes(payload[-SEED_BYTES:])
        found = self._scheme.ciphertext(self._seeded + np.concatenate(words).tobytes() + tail)
        _, residues = files.words_of(self._scheme.file.saved(found.save), POLYNOMIALS * PRIMES * DEGREE)
        return residues.reshape(POLYNOMIALS, PRIMES, DEGREE)

    def reply(self, residues: Array, places: Array, mask: Array, high: Array, low: Array) -> bytes:
        """What goes back for a combination of ciphertexts, plus a mask: an encryption of their sum, and of no more.

        1. high 2^9 + low, uniform below 2^69, is added to each coefficient: it drowns the combination's noise.
        2. An encryption of zero under the client's public key is added. *This is what hides the weights*: the second
           polynomial is Σ w_j a_j, of a_j that the client chose; without it they follow by solving linear equations.
        3. The mask is added, one prime dropped, and of the first polynomial the coefficients at `places` are sent.

        `residues` is changed. Shapes: uint64 [2, primes, N], int64 [n], uint64 [N] below t, uint64 [N] below 2^60,
        uint64 [N] below 2^9 -> `reply_bytes(n)`.
        """
        for p, prime in enumerate(self._scheme.primes):
            compiled(add_multiple)(residues[0, p], high, low, FLOOD_BITS - _HIGH_BITS, prime)
        total, zero = self._scheme.ciphertext(self._prefix + residues.tobytes()), self._scheme.seal.Ciphertext()
        self._encryptor.encrypt_zero(zero)
        self._evaluator.add_inplace(total, zero)
        self._evaluator.add_plain_inplace(total, self._scheme.plaintext(mask))
        self._evaluator.mod_switch_to_next_inplace(total)
        _, words = files.words_of(self._scheme.file.saved(total.save), POLYNOMIALS * DEGREE)
        first, second = words.reshape(POLYNOMIALS, DEGREE)
        return packing.pack(first[places]) + packing.pack(second)
