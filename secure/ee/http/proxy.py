"""The client's side of serving: plain text in OpenAI's format here, encrypted ids at whatever runs the checkpoint.

It runs where the key is. Text becomes ids with the model's own tokenizer and chat template, ids are permuted, sent,
and what comes back is decrypted, decoded, and cut at stop strings. Text never leaves this process but to its caller.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.applications import Starlette

from secure.ee.client.cipher import Cipher
from secure.ee.client.plain_tokens import PlainTokens
from secure.ee.files.checkpoint import OpenedCheckpoint
from secure.http.app import LOOPBACK
from secure.http.completions import completions_app
from secure.http.text_backend import TextBackend
from secure.parties.encrypted.tokens import TokenGenerator
from secure.protocols.core.errors import CheckpointError


def proxy_app(
    checkpoint: OpenedCheckpoint,
    encrypted: TokenGenerator,
    names: Sequence[str],
    *,
    api_key: str | None = None,
    hosts: Sequence[str] = LOOPBACK,
) -> Starlette:
    """The application. Arguments as for `secure.http.app.make_app`; it closes the generator at its end.

    encrypted: what makes tokens of encrypted ids. names: what callers may call the model.

    Raises CheckpointError for a checkpoint that text cannot be sent to.
    """
    if checkpoint.tokenizer is None:
        raise CheckpointError(f"{checkpoint.folder} was encrypted without a tokenizer, so text cannot become ids")
    manifest = checkpoint.manifest
    if checkpoint.vocabulary is None or manifest.mode != "checkpoint":
        raise CheckpointError(
            f"{checkpoint.folder} is of mode {manifest.mode!r} with factors {', '.join(manifest.factors)}; "
            "the proxy needs a whole checkpoint whose token ids are permuted"
        )
    backend = TextBackend(checkpoint.tokenizer, PlainTokens(Cipher(checkpoint), encrypted), names)
    return completions_app(backend, api_key=api_key, hosts=hosts)
