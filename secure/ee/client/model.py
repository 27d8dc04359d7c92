"""The Python API of equivariant encryption: a model that runs on encrypted ids, with plain text on this side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PretrainedConfig, PreTrainedTokenizerBase
from transformers.generation.streamers import BaseStreamer
from transformers.generation.utils import GenerateDecoderOnlyOutput
from transformers.modeling_outputs import (
    BaseModelOutput,
    ImageClassifierOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)

from secure.arguments import checked
from secure.arrays import Array, as_tensor_or_none
from secure.client_model import ClientModel
from secure.ee.client.budget import OnBudget
from secure.ee.client.cipher import Cipher
from secure.ee.client.counted import CountedRunner, EncryptedReport
from secure.ee.client.generation import EncryptedGeneration
from secure.ee.client.inputs import as_rows, as_tensor, requests
from secure.ee.client.next_epoch import KeyFile, NextEpochs
from secure.ee.client.open_runner import open_counted
from secure.ee.client.plain_tokens import PlainTokens
from secure.ee.client.split import SplitTokens, is_split_client
from secure.ee.engine.server_engine import OF_TOKENS
from secure.ee.files import claims
from secure.ee.files.checkpoint import OpenedCheckpoint, open_checkpoint
from secure.ee.files.keyfile import read_key
from secure.ee.files.manifest import Assumption, EncryptionManifest
from secure.generation.options import GenerationOptions
from secure.generation.prompts import Prompt, pieces, shown, whole
from secure.model_config import model_config
from secure.parties.encrypted.engine import EncoderInputs, Pooling
from secure.progress import layer_bar
from secure.protocols.core.errors import InputError
from secure.protocols.equivariant.fields import label_count
from secure.protocols.equivariant.key import Key


class EncryptedModel(ClientModel):
    """A checkpoint made by `secure ee encrypt`, used with its key. Make one with `from_pretrained`.

    Ids are encrypted and outputs decrypted here; only encrypted ids reach what runs the model. The verbs, their
    arguments and results are those of `secure.PrivateModel`.
    """

    def __init__(self, checkpoint: OpenedCheckpoint, runner: CountedRunner, *, head: bool = True) -> None:
        """runner: whatever runs the checkpoint; it is closed by `unload`. head: whether a classifier's is used."""
        self._checkpoint = checkpoint
        self._runner = runner
        self._cipher = Cipher(checkpoint)
        self._split = is_split_client(checkpoint.folder)
        encrypted = SplitTokens(checkpoint, self._runner) if self._split else self._runner
        self._tokens = PlainTokens(self._cipher, encrypted)
        self._of_tokens = _architecture(checkpoint).endswith(OF_TOKENS)
        self._classifies = head and (self._of_tokens or _architecture(checkpoint).endswith("Classification"))
        self._report: EncryptedReport | None = None

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
        on_budget: OnBudget = "refuse",
        head: bool = True,
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
            on_budget: what happens when as many tokens have passed under the key and epoch as the claim allows.
                "refuse" raises BudgetSpent. "rekey" moves the vocabulary into a new folder beside the encrypted one,
                and the key into a new file beside its own; a server must serve that folder before it goes on.
            head: whether a classifier's head is used; without it, calling the model gives hidden states.

        Raises CheckpointError for a wrong key or changed files, ConfigurationError for a tier that does not hold,
        SessionError and its kinds for the server; all before any id is sent.
        """
        folder = Path(path)
        secret = key if isinstance(key, Key) else read_key(Path(key), passphrase)
        checkpoint = open_checkpoint(folder, secret)
        tier = assume or checkpoint.manifest.tier
        claim = claims.require(tier, checkpoint.manifest.configuration)
        epochs = None
        if on_budget == "rekey":
            # Each vocabulary is a folder of its own, with all that runs it.
            tensors = Path(server) if server is not None and Path(server).is_dir() else folder
            key_file = None if isinstance(key, Key) else KeyFile(Path(key), passphrase)
            epochs = NextEpochs(checkpoint, tensors, tier, key_file)
        return cls(checkpoint, open_counted(checkpoint, server, certificates, device, claim, epochs), head=head)

    @property
    def manifest(self) -> EncryptionManifest:
        """What was done to the checkpoint."""
        return self._checkpoint.manifest

    @property
    def claim(self) -> claims.Claim:
        """What the red team measured for the manifest's tier and configuration; `notice` is a sentence for users."""
        return claims.require(self.manifest.tier, self.manifest.configuration)

    @property
    def config(self) -> PretrainedConfig:
        """The base's config.json in transformers' class. Raises CheckpointError for one that it does not know."""
        return model_config(self._checkpoint.config)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase | None:
        """The base's, with plain ids; None where the checkpoint was encrypted without one."""
        return self._checkpoint.tokenizer

    @property
    def id2label(self) -> dict[int, str]:
        """Names of a classifier's classes, by their numbers; the server does not have them."""
        config = self._checkpoint.config
        names = config.get("id2label") or {}
        if not names and _architecture(self._checkpoint).endswith("Classification"):
            # transformers leaves out the names that it gives to two classes.
            names = {number: f"LABEL_{number}" for number in range(label_count(config))}
        return {int(number): str(names[number]) for number in sorted(names, key=int)}

    @property
    def report(self) -> EncryptedReport:
        """What the last call cost. Raises InputError before the first one."""
        if self._report is None:
            raise InputError("there is no report yet: make a prediction first")
        return self._report

    def generate(
        self,
        input_ids: Prompt,
        attention_mask: Array | None = None,
        *,
        streamer: BaseStreamer | None = None,
        progress: bool | None = None,
        **options: Unpack[GenerationOptions],
    ) -> Any:
        """Prompts and the tokens that follow, as transformers' `generate` gives them; or a text and the text after it.

        Each row is a request of its own. Without a streamer and stop strings its tokens travel together, so that the
        wire does not show the pace at which they came.

        Args:
            input_ids: the prompts as plain ids; or one prompt as text. attention_mask: 0 marks padding, on either side;
                without one every token counts.
            max_new_tokens: most tokens to add, 20 by default; max_length counts those of the prompt, too.
            do_sample: let the server draw, with a seed from torch's global generator; otherwise the likeliest token is
                taken. temperature and top_p shape the distribution. num_return_sequences: of each prompt.
            eos_token_id: ends a row. It must hold the checkpoint's own, at which the server ends rows, too; in split
                mode it may be any, or None. pad_token_id: what follows in it; None: the first eos.
            stop_strings: texts after which a row ends; a prompt that is text gets a text that ends before the first.
                All of these that are not given are what the base's generation_config.json says, or config.json where
                there is none. What else it says is the server's to follow. The other options of
                `secure.PrivateModel.generate` are refused by name: they need logits, or shares.
            streamer: such as transformers' TextStreamer; for a batch of one.
            progress: show which token is made; None does so when standard error is a terminal and there is no streamer.

        Shapes: int64 [B, T] -> [B, T + N], N at most max_new_tokens; text -> text.
        Raises InputError before anything is sent, and SessionError and its kinds.
        """
        generation = self._generation(input_ids, attention_mask, options)
        at_once = streamer is None and not generation.settings.stop_strings
        columns = generation.columns(progress if streamer is None else progress or False, at_once=at_once)
        columns = self._reported(columns, len(generation.ids))
        if streamer is not None:
            columns = shown(columns, generation.ids, streamer)
        sequences = whole(input_ids, generation.ids, columns, self.tokenizer, generation.settings)
        return GenerateDecoderOnlyOutput(sequences=sequences) if generation.settings.return_dict else sequences

    def stream(
        self,
        input_ids: Prompt,
        attention_mask: Array | None = None,
        *,
        progress: bool | None = None,
        **options: Unpack[GenerationOptions],
    ) -> Iterator[Any]:
        """What `generate` appends, each as soon as it is there: tokens int64 [B], or of a text the pieces after it.

        Arguments and errors as for `generate`. Closing the iterator stops the server. Several rows are as many requests
        at a time, of which a server takes a few.
        """
        generation = self._generation(input_ids, attention_mask, options)
        columns = self._reported(generation.columns(progress, at_once=False), len(generation.ids))
        return pieces(input_ids, columns, self.tokenizer, generation.settings)

    def __call__(
        self,
        input_ids: Array | None = None,
        attention_mask: Array | None = None,
        token_type_ids: Array | None = None,
        *,
        pixel_values: Array | None = None,
        progress: bool | None = None,
    ) -> Any:
        """The model's outputs for token ids or images, in the class that transformers returns.

        Inputs are tensors, numpy arrays or lists.

        Shapes: input_ids int64 [B, T] or pixel_values [B, C, H, W] -> a classifier's logits [B, labels] of a
        SequenceClassifierOutput or an ImageClassifierOutput, [B, T, labels] of a TokenClassifierOutput, start_logits
        and end_logits [B, T] of a QuestionAnsweringModelOutput; the server sees them, too, and `id2label` names them.
        Any other model, and one opened with head=False: last_hidden_state [B, T, D] of a BaseModelOutput, in the base's
        basis, with zeros at padding. A language model's logits stay at the server.

        Raises InputError before anything is sent, and SessionError and its kinds.
        """
        self._whole("classes" if self._classifies else "hidden states")
        ids, mask, types, pixels = (
            as_tensor_or_none(name, value)
            for name, value in (
                ("input_ids", input_ids),
                ("attention_mask", attention_mask),
                ("token_type_ids", token_type_ids),
                ("pixel_values", pixel_values),
            )
        )
        if self.manifest.family == "cnn" and not self._classifies:
            raise InputError("a ResNet has feature maps, no hidden states of tokens; open it with its head for classes")
        given = list(requests(self._inputs(ids, mask, types, pixels)))
        if self._classifies:
            answers = self._each(given, self._runner.classify, progress)
            if self._of_tokens:
                logits = pad_sequence([row for answer in answers for row in answer], batch_first=True)
                logits = logits if ids is None else as_tensor(logits, ids, mask)
                if _architecture(self._checkpoint).endswith("Classification"):
                    return TokenClassifierOutput(logits=logits)
                return QuestionAnsweringModelOutput(start_logits=logits[..., 0], end_logits=logits[..., 1])
            logits = torch.cat(answers)
            return SequenceClassifierOutput(logits=logits) if pixels is None else ImageClassifierOutput(logits=logits)
        parts = self._each(given, lambda inputs: self._runner.embed(inputs, "none"), progress)
        hidden = self._cipher.plain_hidden(pad_sequence([row for part in parts for row in part], batch_first=True))
        if ids is not None:
            hidden = as_tensor(hidden, ids, mask)
        return BaseModelOutput(last_hidden_state=hidden)

    def encode(
        self,
        sentences: Sequence[str],
        *,
        batch_size: int = 8,
        truncate: bool = False,
        progress: bool | None = None,
        pooling: Pooling = "mean",
        normalize: bool = True,
    ) -> Tensor:
        """Sentence embeddings. The server learns the number of sentences and their lengths in tokens.

        Args:
            sentences: a list of strings.
            batch_size: most sentences in one request.
            truncate: cut sentences that are too long, instead of refusing them.
            progress: show which batch is at work; None does so when standard error is a terminal.
            pooling: "mean" over tokens, or the "first" or "last" one. normalize: to length 1.

        Shapes: float32 [sentences, D], in the order of the sentences.
        Raises InputError before anything is sent, and SessionError and its kinds.
        """
        self._whole("embeddings")
        if pooling == "none":
            raise InputError('pooling "none" gives no sentence embedding; call the model for hidden states')
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; it must be 1 or more")
        rows = self._cipher.encrypted(self._cipher.tokenized(sentences, truncate))
        given = list(requests(EncoderInputs(rows), batch_size))
        parts = self._each(given, lambda inputs: self._runner.embed(inputs, pooling), progress)
        embeddings = self._cipher.plain_hidden(torch.cat(parts)).float()
        return torch.nn.functional.normalize(embeddings) if normalize else embeddings

    def unload(self) -> None:
        """Free what the model takes here: the connection, or the engine of this process."""
        self._runner.close()

    def _generation(self, prompt: Prompt, mask: Array | None, options: GenerationOptions) -> EncryptedGeneration:
        # Where this side draws the tokens, in split mode, nothing else ends a row.
        own_ends = set() if self._split else set(self._cipher.stop_ids)
        return EncryptedGeneration(self._cipher, self._tokens, own_ends, prompt, mask, options)

    def _reported(self, columns: Iterator[Tensor], sequences: int) -> Iterator[Tensor]:
        self._runner.begin(sequences)
        try:
            yield from columns
        finally:
            self._report = self._runner.report()

    def _each(
        self, given: Sequence[EncoderInputs], compute: Callable[[EncoderInputs], Tensor], progress: bool | None
    ) -> list[Tensor]:
        """The answers to requests, one after the other."""
        count = sum(len(each.rows) if each.pixels is None else len(each.pixels) for each in given)
        self._runner.begin(count)
        with layer_bar(len(given), 1, progress) as bar:
            found = []
            for inputs in given:
                found.append(compute(inputs))
                bar.session_done()
        self._report = self._runner.report()
        return found

    def _inputs(
        self, ids: Tensor | None, mask: Tensor | None, types: Tensor | None, pixels: Tensor | None
    ) -> EncoderInputs:
        if (ids is None) == (pixels is None):
            raise InputError("give token ids or pixel_values, one of them")
        if ids is None:
            assert pixels is not None
            return EncoderInputs(pixels=self._cipher.encrypted_pixels(pixels))
        return EncoderInputs(
            self._cipher.encrypted(as_rows(ids, mask)), None if types is None else as_rows(types, mask)
        )

    def _whole(self, what: str) -> None:
        if self._split:
            raise InputError(f"a split checkpoint generates; for {what}, encrypt without --split")


def _architecture(checkpoint: OpenedCheckpoint) -> str:
    return str((checkpoint.config.get("architectures") or [""])[0])
