"""What the owner of a key alone may read or make: sealed files, and seals on public ones.

Each use has its own key, HKDF-SHA256 of the secret under a label of its own. The vocabulary's epoch plays no part, so
a sealed file stays readable after rekeying.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from secure.protocols.core.errors import CheckpointError
from secure.protocols.equivariant.key import Key

_DOMAIN = b"secure-inference ee files 1"
_NONCE_BYTES = 12
# The length of a tokenizer's files tells which public tokenizer it is; in steps of this size it tells less.
_STEP_BYTES = 1 << 18


def seal(key: Key, label: str, data: bytes) -> str:
    """HMAC-SHA256 of public data, in hexadecimal: nobody without the key can make one, or test a guess of the data."""
    return hmac.digest(_derived(key, f"seal {label}"), data, hashlib.sha256).hex()


def seal_matches(key: Key, label: str, data: bytes, found: str) -> bool:
    """Whether `found` is the data's seal."""
    return hmac.compare_digest(seal(key, label, data), found)


def encrypt_files(key: Key, files: Mapping[str, bytes]) -> bytes:
    """Named files as one, by AES-256-GCM under a fresh nonce; the length shows in steps of 256 KiB only."""
    text = json.dumps({name: base64.b64encode(data).decode("ascii") for name, data in files.items()}).encode("ascii")
    text += b" " * (-len(text) % _STEP_BYTES)
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + AESGCM(_derived(key, "files")).encrypt(nonce, text, _DOMAIN)


def decrypt_files(key: Key, data: bytes) -> dict[str, bytes]:
    """What `encrypt_files` took. Raises CheckpointError for another key or changed bytes."""
    try:
        text = AESGCM(_derived(key, "files")).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], _DOMAIN)
    except (InvalidTag, ValueError):
        raise CheckpointError("the client's sealed files do not open: they were changed, or have another key") from None
    return {name: base64.b64decode(value) for name, value in json.loads(text).items()}


def _derived(key: Key, label: str) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt=_DOMAIN, info=label.encode("ascii")).derive(key.secret)
