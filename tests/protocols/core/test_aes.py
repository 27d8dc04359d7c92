"""Both forms of counter mode against a third implementation of the cipher."""

from __future__ import annotations

import ctypes.util

import numpy as np
import pytest
from Crypto.Cipher import AES

from secure.protocols.core import aes
from secure.protocols.core.aes import CounterMode, LibraryCounterMode, PackageCounterMode
from secure.protocols.core.errors import ConfigurationError

KEY = bytes(range(16))
FORMS = [
    PackageCounterMode,
    pytest.param(
        LibraryCounterMode,
        marks=pytest.mark.skipif(ctypes.util.find_library("crypto") is None, reason="the system has no libcrypto"),
    ),
]


def due(nonce: bytes, count: int) -> bytes:
    cipher = AES.new(KEY, AES.MODE_ECB)
    blocks = (cipher.encrypt(nonce + counter.to_bytes(4, "big")) for counter in range((count + 15) // 16))
    return b"".join(blocks)[:count]


@pytest.mark.parametrize("form", FORMS)
def test_streams(form: type[CounterMode]) -> None:
    mode = form(KEY)
    for nonce in (bytes(12), b"\xff" * 12, b"twelve bytes"):
        for count in (0, 1, 16, 17, 1000, 2 * (1 << 18) + 5):
            out = np.empty(count, dtype=np.uint8)
            mode.fill(nonce, out)
            assert out.tobytes() == due(nonce, count)


@pytest.mark.parametrize("form", FORMS)
def test_data_is_encrypted_in_place(form: type[CounterMode]) -> None:
    for count in (0, 1, 16, 17, 2 * (1 << 18) + 5):
        data = np.arange(count, dtype=np.uint64).astype(np.uint8)
        changed = data.copy()
        form(KEY).apply(b"twelve bytes", changed)
        stream = np.frombuffer(due(b"twelve bytes", count), dtype=np.uint8)
        assert np.array_equal(changed, data ^ stream)
        form(KEY).apply(b"twelve bytes", changed)
        assert np.array_equal(changed, data)


def test_a_machine_without_openssl_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aes, "HAS_PACKAGE", False)
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    aes._library.cache_clear()
    with pytest.raises(ConfigurationError, match="install the package cryptography"):
        aes.counter_mode(KEY)
    aes._library.cache_clear()
