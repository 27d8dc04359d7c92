"""The client's side of serving: plain text in OpenAI's format here, encrypted ids at whatever runs the checkpoint.

It runs where the key is. Text becomes ids with the model's own tokenizer and chat template, ids are permuted, sent,
and what comes back is decrypted, decoded, and cut at stop strings. Text never leaves this process but to its caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from starlette.applications import Starlette
from torch.nn.functional import normalize

from secure.audit.mixing import Audit
from secure.ee.client.canary_mix import AuditedTokens
from secure.ee.client.cipher import Cipher
from secure.ee.client.inputs import requests
from secure.ee.client.plain_tokens import PlainTokens
from secure.ee.files.checkpoint import OpenedCheckpoint
from secure.ee.http.proxy_receipts import NumberedTokens, ProxyReceipts
from secure.http import kept_receipts
from secure.http.app import LOOPBACK, Handler
from secure.http.callers import callers_with
from secure.http.completions import completions_app
from secure.http.text_backend import TextBackend
from secure.parties.encrypted.engine import EncoderInputs
from secure.parties.encrypted.runner import Runner
from secure.parties.encrypted.tokens import TokenGenerator
from secure.protocols.core.errors import CheckpointError, ConfigurationError


def proxy_app(
    checkpoint: OpenedCheckpoint,
    encrypted: TokenGenerator | Runner,
    names: Sequence[str],
    *,
    api_key: str | None = None,
    hosts: Sequence[str] = LOOPBACK,
    origins: Sequence[str] = (),
    audit: Audit | None = None,
    receipts: ProxyReceipts | None = None,
) -> Starlette:
    """The application. Arguments as for `secure.http.app.make_app`; it closes the generator at its end.

    api_key: what callers must send, None for none.
    encrypted: what makes tokens of encrypted ids; for a model that generates nothing, a runner.
    names: what callers may call the model. audit: canaries that go among the requests of a language model.
    receipts: those that `encrypted` gives, which callers may have; None for none.

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
    cipher = Cipher(checkpoint)
    embed = None
    if not cipher.generates:
        if not isinstance(encrypted, Runner):
            raise CheckpointError(f"{checkpoint.folder} generates nothing, and its backend gives no embeddings")
        embed = partial(_embedded, cipher, encrypted)
        if audit is not None:
            raise ConfigurationError(f"{checkpoint.folder} generates nothing; audit it with secure ee audit run")
    tokens: TokenGenerator = PlainTokens(cipher, encrypted)
    if audit is not None:
        tokens = AuditedTokens(tokens, cipher, audit)
    more_routes: dict[str, tuple[str, Handler]] = {}
    if receipts is not None:
        tokens = NumberedTokens(tokens, receipts)
        more_routes[kept_receipts.PATH] = ("GET", receipts.kept.told)
    backend = TextBackend(checkpoint.tokenizer, tokens, names, embed)
    return completions_app(
        backend, callers=callers_with(api_key), hosts=hosts, origins=origins, more_routes=more_routes
    )


def _embedded(cipher: Cipher, runner: Runner, rows: list[list[int]]) -> list[list[float]]:
    """Embeddings as `EncryptedModel.encode` gives them: the mean over tokens, of length 1."""
    cipher.check_lengths(rows)
    inputs = EncoderInputs(cipher.encrypted(rows))
    means = torch.cat([runner.embed(part, "mean") for part in requests(inputs)])
    vectors: list[list[float]] = normalize(cipher.plain_hidden(means).float()).tolist()
    return vectors
