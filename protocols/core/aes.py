"""AES-128 in counter mode at the processor's speed: OpenSSL, in whichever of two forms this machine has it.

The package cryptography brings its own; where that is not installed, the system's library is called. A stream is the
cipher applied to nonce and counter, 96 bits and 32 bits, the counter from zero. Both give up to 64 GiB of it.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from secure.protocols.core import transfer
from secure.protocols.core.errors import ConfigurationError
from secure.protocols.core.kernels.dispatch import step

NONCE_BYTES = 12
_COUNTER = bytes(4)
_CHUNK_BYTES = 1 << 18  # stays in the second-level cache
_ZEROS = np.zeros(_CHUNK_BYTES, dtype=np.uint8)

try:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
except ImportError:
    HAS_PACKAGE = False
else:
    HAS_PACKAGE = True


class CounterMode(ABC):
    """One key's streams. For one thread at a time."""

    def fill(self, nonce: bytes, out: NDArray[np.uint8]) -> None:
        """Write the beginning of a nonce's stream. Shapes: 12 bytes; out uint8 [n]."""
        for part in self._parts(nonce, out):
            self._continue(_ZEROS[: len(part)], part)

    def apply(self, nonce: bytes, data: NDArray[np.uint8]) -> None:
        """Encrypt in place, or decrypt: a nonce's stream is added to data, bit by bit. Shapes: 12 bytes; uint8 [n]."""
        for part in self._parts(nonce, data):
            self._continue(part, part)

    def _parts(self, nonce: bytes, data: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
        """The chunks that `_continue` is to be called with, one after the other, from the stream's beginning."""
        self._start(nonce + _COUNTER)
        for start in range(0, len(data), _CHUNK_BYTES):
            yield data[start : start + _CHUNK_BYTES]

    @abstractmethod
    def _start(self, block: bytes) -> None:
        """The first block that is to be encrypted."""

    @abstractmethod
    def _continue(self, source: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
        """Write what follows of the stream, added to the source: at most a chunk. Both may be the same memory."""


def counter_mode(key: bytes) -> CounterMode:
    """Streams under a key of 16 bytes. Raises ConfigurationError where OpenSSL is missing."""
    return PackageCounterMode(key) if HAS_PACKAGE else LibraryCounterMode(key)


Keystream = Callable[[int, int, int], Tensor]


@step
def keystream(key: bytes, device: torch.device) -> Keystream:
    """A key's streams as tensors: called with a gate, a label and a count, they give the first `count` bytes of one.

    Its nonce is the gate in 64 bits and the label in 32. As secret as the key, and for one thread at a time. A card
    makes its own in `kernels/card/aes.py`. Shapes: 16 bytes -> uint8 [count].
    Raises ConfigurationError where OpenSSL is missing.
    """
    cipher = counter_mode(key)

    def stream(gate: int, label: int, count: int) -> Tensor:
        host = transfer.host_bytes(count, device)
        cipher.fill(gate.to_bytes(8, "big") + label.to_bytes(4, "big"), host.numpy())
        return transfer.to_device(host, device)

    return stream


class PackageCounterMode(CounterMode):
    """By the package cryptography."""

    def __init__(self, key: bytes) -> None:
        self._context = Cipher(algorithms.AES(key), modes.CTR(bytes(NONCE_BYTES) + _COUNTER)).encryptor()

    def _start(self, block: bytes) -> None:
        self._context.reset_nonce(block)

    def _continue(self, source: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
        self._context.update_into(source.data, out.data)


class LibraryCounterMode(CounterMode):
    """By the system's library, which Python's own ssl module needs too."""

    def __init__(self, key: bytes) -> None:
        self._library = _library()
        self._context = self._library.EVP_CIPHER_CTX_new()
        self._initialise(self._library.EVP_aes_128_ctr(), key, bytes(NONCE_BYTES) + _COUNTER)

    def __del__(self) -> None:
        if hasattr(self, "_context"):
            self._library.EVP_CIPHER_CTX_free(self._context)

    def _initialise(self, cipher: int | None, key: bytes | None, block: bytes) -> None:
        if self._library.EVP_EncryptInit_ex(self._context, cipher, None, key, block) != 1:
            raise ConfigurationError("OpenSSL refused AES-128 in counter mode; install the package cryptography")

    def _start(self, block: bytes) -> None:
        self._initialise(None, None, block)

    def _continue(self, source: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
        written = ctypes.c_int()
        count = len(out)
        places = out.ctypes.data, ctypes.byref(written), source.ctypes.data
        done = self._library.EVP_EncryptUpdate(self._context, *places, count)
        if done != 1 or written.value != count:
            raise ConfigurationError("OpenSSL failed at AES-128 in counter mode; install the package cryptography")


@cache
def _library() -> ctypes.CDLL:
    name = ctypes.util.find_library("crypto")
    if name is None:
        raise ConfigurationError("no AES: install the package cryptography, or the system's libcrypto")
    library = ctypes.CDLL(name)
    pointer, count = ctypes.c_void_p, ctypes.c_int
    library.EVP_CIPHER_CTX_new.restype = pointer
    library.EVP_CIPHER_CTX_free.argtypes = [pointer]
    library.EVP_CIPHER_CTX_free.restype = None
    library.EVP_aes_128_ctr.restype = pointer
    library.EVP_EncryptInit_ex.argtypes = [pointer, pointer, pointer, ctypes.c_char_p, ctypes.c_char_p]
    library.EVP_EncryptUpdate.argtypes = [pointer, pointer, ctypes.POINTER(count), pointer, count]
    return library
