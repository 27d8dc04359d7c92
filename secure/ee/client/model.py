"""The Python API of equivariant encryption: a model that runs on encrypted ids, with plain text on this side."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.modeling_outputs import BaseModelOutput, SequenceClassifierOutput

from secure.arguments import checked
from secure.ee.client.client import Client, open_client
from secure.ee.client.inputs import as_rows, as_tensor
from secure.ee.client.reader import Reader
from secure.ee.client.runner import Runner, open_runner
from secure.ee.client.split import SplitTables, is_split_client
from secure.ee.client.text_stream import StopStrings, TextStream
from secure.ee.files import claims
from secure.ee.files.keyfile import read_key
from secure.ee.files.manifest import Assumption, EncryptionManifest
from secure.parties.encrypted.engine import GenerationLimits, Pooling, Sampling
from secure.protocols.core.errors import InputError
from secure.protocols.equivariant.fields import label_count
from secure.protocols.equivariant.key import Key

_Inputs = tuple[list[list[int]], list[list[int]] | None, Tensor | None]
"""Encrypted rows of ids with their token types, or no rows and images."""


class EncryptedModel:
    """A checkpoint made by `secure ee encrypt`, used with its key. Make one with `from_pretrained`.

    Ids are encrypted and outputs decrypted here; only encrypted ids reach what runs the model.
    """

    def __init__(self, client: Client, runner: Runner) -> None:
        self._client = client
        self._runner = runner
        self._reader = Reader(client)
        self._tables = SplitTables(client) if is_split_client(client.folder) else None

    @classmethod
    @checked
    def from_pretrained(
        cls,
        path: Path | str,
        *,
        key: Key | Path | str,
        passphrase: str | None = None,
        server: Path | str | None = None,
        certificates: Path | str | None = None,
        device: str = "cpu",
        assume: Assumption | None = None,
    ) -> EncryptedModel:
        """Open an encrypted checkpoint.

        Args:
            path: the encrypted folder, or a copy of its encryption.json and client.sealed; in split mode the client's.
            key: the key, or its file. passphrase: of that file, when it has one.
            server: "host:port" of the party that serves it (`secure ee serve`), or the folder to run in this process
                when that is another than `path`. None runs `path` in this process, which protects nothing from it.
            certificates: with an address, the folder with authority.crt, client.crt and client.key.
            device: with a folder, where it runs: "cpu", "cuda", "cuda:1".
            assume: the threat tier that you need; None takes the manifest's, "none" needs nothing. Refused when the red
                team has broken it for this configuration.

        Raises CheckpointError for a wrong key or changed files, ConfigurationError for a tier that does not hold,
        SessionError and its kinds for the server; all before any id is sent.
        """
        folder = Path(path)
        secret = key if isinstance(key, Key) else read_key(Path(key), passphrase)
        client = open_client(folder, secret)
        claims.require(assume or client.manifest.tier, client.manifest.configuration)
        return cls(client, open_runner(client, server, certificates, device))

    @property
    def manifest(self) -> EncryptionManifest:
        """What was done to the checkpoint."""
        return self._client.manifest

    @property
    def claim(self) -> claims.Claim:
        """What the red team measured for the manifest's tier and configuration; `notice` is a sentence for users."""
        return claims.require(self.manifest.tier, self.manifest.configuration)

    @property
    def labels(self) -> list[str]:
        """Names of a classifier's classes, in the order of its logits."""
        config = self._client.config
        names = config.get("id2label") or {}
        if not names and str((config.get("architectures") or [""])[0]).endswith("Classification"):
            # transformers leaves out the names that it gives to two classes.
            return [f"LABEL_{number}" for number in range(label_count(config))]
        return [str(names[number]) for number in sorted(names, key=int)]

    def generate(
        self,
        input_ids: Tensor,
        *,
        attention_mask: Tensor | None = None,
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> Tensor:
        """Prompts and the tokens that follow, as transformers' `generate` gives them; each row by itself, at once.

        Args:
            input_ids: plain ids, int64 [B, T]. attention_mask: 0 marks padding, on either side.
            temperature: 0 takes the likeliest token each time. top_p, seed: of the draws.

        Shapes: int64 [B, T + N]; rows that end early are padded at the end. Raises InputError before anything is sent.
        """
        sampling = Sampling(max_new_tokens, temperature, top_p, seed)
        rows = as_rows(input_ids, attention_mask)
        made = [list(self._ids(row, sampling, at_once=True)) for row in rows]
        longest = max(map(len, made))
        padding = self._reader.padding
        tails = [row + [padding] * (longest - len(row)) for row in made]
        return torch.cat([input_ids.cpu().long(), torch.tensor(tails, dtype=torch.int64)], dim=1)

    def stream(
        self,
        prompt: str | Sequence[int],
        *,
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
        stop: Sequence[str] = (),
    ) -> Iterator[str]:
        """The text that follows a prompt, piece by piece as it is made. Closing the iterator stops the server.

        Args:
            prompt: text, or plain ids, for instance from the tokenizer's chat template.
            stop: texts before which to end; they are looked for here and never leave.
        """
        tokenizer = self._reader.tokenizer
        ids = self._reader.prompt(prompt)
        decoder, stops = TextStream(tokenizer), StopStrings(stop)
        sampling = Sampling(max_new_tokens, temperature, top_p, seed)
        with closing(self._ids(ids, sampling, at_once=False)) as tokens:
            for token in tokens:
                if text := stops.feed(decoder.feed(token)):
                    yield text
                if stops.stopped:
                    return
        if text := stops.feed(decoder.flush()) + stops.flush():
            yield text

    def complete(
        self,
        prompt: str | Sequence[int],
        *,
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
        stop: Sequence[str] = (),
    ) -> str:
        """The whole text that follows a prompt. Arguments as for `stream`."""
        pieces = self.stream(
            prompt, max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, seed=seed, stop=stop
        )
        return "".join(pieces)

    def __call__(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        pixel_values: Tensor | None = None,
    ) -> BaseModelOutput:
        """The last hidden states, in the base's basis. Padding gets zeros.

        Shapes: input_ids int64 [B, T] or pixel_values [B, C, H, W] -> last_hidden_state [B, T, D].
        """
        self._whole("hidden states")
        if self.manifest.family == "cnn":
            raise InputError("a ResNet has feature maps, no hidden states of tokens; classify is what there is for it")
        rows, types, pixels = self._inputs(input_ids, attention_mask, token_type_ids, pixel_values)
        parts = [self._runner.embed(*part, "none") for part in _requests(rows, types, pixels)]
        hidden = self._reader.plain_hidden(pad_sequence([row for part in parts for row in part], batch_first=True))
        if input_ids is not None:
            hidden = as_tensor(hidden, input_ids, attention_mask)
        return BaseModelOutput(last_hidden_state=hidden)

    def encode(
        self,
        sentences: Sequence[str],
        *,
        batch_size: int = 8,
        truncate: bool = False,
        pooling: Pooling = "mean",
        normalize: bool = True,
    ) -> Tensor:
        """Sentence embeddings. The server learns the number of sentences and their lengths in tokens.

        Args:
            truncate: cut sentences that are too long, instead of refusing them.
            pooling: "mean" over tokens, or the "first" or "last" one. normalize: to length 1.

        Shapes: float32 [sentences, D]. Raises InputError before anything is sent.
        """
        self._whole("embeddings")
        if pooling == "none":
            raise InputError('pooling "none" gives no sentence embedding; call the model for hidden states')
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; it must be 1 or more")
        rows = self._reader.encrypted(self._reader.tokenized(sentences, truncate))
        parts = [self._runner.embed(*part, pooling) for part in _requests(rows, None, None, batch_size)]
        embeddings = self._reader.plain_hidden(torch.cat(parts)).float()
        return torch.nn.functional.normalize(embeddings) if normalize else embeddings

    def classify(
        self,
        inputs: Sequence[str] | Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        pixel_values: Tensor | None = None,
        truncate: bool = False,
    ) -> SequenceClassifierOutput:
        """A classifier's logits for sentences, plain ids or images; `labels` has the names. The server sees logits.

        Shapes: a list of strings, int64 [B, T] or pixel_values [B, C, H, W] -> logits [B, classes].
        """
        self._whole("classes")
        if inputs is not None and not isinstance(inputs, Tensor):
            given: _Inputs = self._reader.encrypted(self._reader.tokenized(inputs, truncate)), None, None
        else:
            given = self._inputs(inputs, attention_mask, token_type_ids, pixel_values)
        return SequenceClassifierOutput(logits=torch.cat([self._runner.classify(*part) for part in _requests(*given)]))

    def close(self) -> None:
        """End the connection, if there is one."""
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ids(self, ids: Sequence[int], sampling: Sampling, *, at_once: bool) -> Generator[int, None, None]:
        """Plain ids in, plain ids out, one by one. at_once: they travel together, 4 bytes each, and show no pace."""
        (encrypted,) = self._reader.encrypted([list(ids)])
        room = self._runner.context_tokens()
        if len(ids) + sampling.max_new_tokens > room:
            raise InputError(
                f"the prompt's {len(ids)} tokens and max_new_tokens {sampling.max_new_tokens} do not fit; this model "
                f"has room for {room} together"
            )
        if self._tables is None:
            tokens = self._runner.generate(encrypted, sampling, at_once=at_once)
        else:
            stops = set(self._reader.encrypted([self._reader.stop_ids])[0])
            tokens = self._tables.generate(self._runner, encrypted, sampling, stops)
        for token in tokens:
            yield self._reader.plain_id(token)

    def _inputs(self, ids: Tensor | None, mask: Tensor | None, types: Tensor | None, pixels: Tensor | None) -> _Inputs:
        if (ids is None) == (pixels is None):
            raise InputError("give token ids or pixel_values, one of them")
        if ids is None:
            assert pixels is not None
            return [], None, self._reader.encrypted_pixels(pixels)
        return self._reader.encrypted(as_rows(ids, mask)), None if types is None else as_rows(types, mask), None

    def _whole(self, what: str) -> None:
        if self._tables is not None:
            raise InputError(f"a split checkpoint generates; for {what}, encrypt without --split")


def _requests(
    rows: list[list[int]], types: list[list[int]] | None, pixels: Tensor | None, size: int = GenerationLimits.rows
) -> Iterator[_Inputs]:
    """The inputs in parts of `size`: by default as many as a server takes in one request."""
    count = len(rows) if pixels is None else len(pixels)
    for start in range(0, max(count, 1), size):
        part = slice(start, start + size)
        yield rows[part], None if types is None else types[part], None if pixels is None else pixels[part]
