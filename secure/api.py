"""The Python API: load a model on the parties, predict with it, keep the report."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from models.checkpoint import MANIFEST_NAME, read_checkpoint, read_manifest, write_split
from models.client_inputs import client_inputs, decode_outputs, make_request
from models.config import BertConfig
from models.labels import read_labels
from models.manifest import Manifest, WeightVisibility
from models.outputs import model_output, whole_output
from models.program import Output, input_specs, output_specs
from protocols.beaver.sharing import reconstruct, share
from protocols.core.errors import CheckpointError, InputError
from secure.connection import Parties
from secure.progress import LayerBar, layer_bar, status
from secure.report import Report
from secure.split import read_client_tables, share_files
from secure.tokens import batches, load_tokenizer, tokenize

# Layers that every session begins beside the encoder's own: embeddings twice, pooling, reveal.
_OTHER_LAYERS = 4


class PrivateModel:
    """A transformer encoder, maybe with a head, that P0 and P1 hold in shares. Make one with `from_pretrained`."""

    def __init__(
        self,
        manifest: Manifest,
        parties: Parties,
        *,
        tokenizer: PreTrainedTokenizerBase | None,
        embeddings: Mapping[str, Tensor],
        load_seconds: float,
        labels: Mapping[int, str] | None = None,
    ) -> None:
        """For a model that is loaded already.

        embeddings: with public weights, the tables that the client looks up. labels: a classifier's, by their numbers.
        """
        self.manifest = manifest
        self.id2label = dict(labels or {})
        self.load_seconds = load_seconds
        self._config = BertConfig(**manifest.config)
        self._parties = parties
        self._tokenizer = tokenizer
        self._embeddings = embeddings
        self._report: Report | None = None

    @classmethod
    def from_pretrained(
        cls,
        path: Path | str,
        *,
        parties: Parties,
        weights: WeightVisibility | None = None,
        head: bool = True,
        progress: bool | None = None,
    ) -> PrivateModel:
        """Load a model on the parties.

        Args:
            path: a checkpoint folder (config.json, safetensors, tokenizer), which is split here and uploaded; or a
                folder made by `secure split`. Where the split folder lacks the share files, each party serves its own.
            weights: "private" (the default for a checkpoint) or "public". A split folder has its own; naming another
                one is an error.
            head: whether a checkpoint's head is loaded along: the one that `architectures` in its config.json names, a
                classifier of sequences or of tokens, or one for masked words. Of a split
                folder that has one it cannot be left out.
            progress: show what is going on; None does so when standard error is a terminal.

        Raises CheckpointError before anything is shared, and SessionError and its kinds.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise CheckpointError(f"{folder} is no folder; it should be a checkpoint or a split checkpoint")
        tokenizer = load_tokenizer(folder)
        with status("reading and checking the checkpoint", progress):
            if (folder / MANIFEST_NAME).is_file():
                return cls._from_split(folder, parties, weights, tokenizer, head=head)
            checkpoint = read_checkpoint(folder, weights=weights or "private", head=head)
        # Both share files together are the model: only this user may read them, and only while they are uploaded.
        with (
            status("sharing the weights with P0 and P1", progress),
            tempfile.TemporaryDirectory(prefix="secure-inference-") as temporary,
        ):
            manifest = write_split(checkpoint, temporary)
            load_seconds = _load(parties, manifest, share_files(Path(temporary)))
        return cls(
            manifest,
            parties,
            tokenizer=tokenizer,
            embeddings=checkpoint.embeddings,
            load_seconds=load_seconds,
            labels=checkpoint.labels,
        )

    @classmethod
    def _from_split(
        cls,
        folder: Path,
        parties: Parties,
        weights: WeightVisibility | None,
        tokenizer: PreTrainedTokenizerBase | None,
        *,
        head: bool,
    ) -> PrivateModel:
        manifest = read_manifest(folder)
        config = BertConfig(**manifest.config)
        if weights not in (None, manifest.weights):
            raise CheckpointError(f"{folder} was split with {manifest.weights} weights, {weights} ones are asked for")
        if not head and config.head != "none":
            raise CheckpointError(f"{folder} was split with its head, the encoder alone is asked for; split it again")
        tables, labels = read_client_tables(folder, manifest), read_labels(folder, config.labels)
        load_seconds = _load(parties, manifest, share_files(folder))
        return cls(manifest, parties, tokenizer=tokenizer, embeddings=tables, load_seconds=load_seconds, labels=labels)

    def __call__(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        progress: bool | None = None,
    ) -> Any:
        """The model's outputs for token ids, all in one session, in the class that transformers returns them in.

        Shapes: integer [B, T] -> logits float32 [B, labels] of a SequenceClassifierOutput, [B, T, labels] of a
        TokenClassifierOutput, [B, T, V] of a MaskedLMOutput; without a head last_hidden_state float32 [B, T, D] and
        pooler_output float32 [B, D] or None of a BaseModelOutputWithPooling (DistilBERT: a BaseModelOutput, without).
        The type is left open, as the checkpoint decides it. `id2label` names a classifier's labels.

        Raises InputError before anything is sent, and SessionError and its kinds.
        """
        for name, tensor in (("attention_mask", attention_mask), ("token_type_ids", token_type_ids)):
            if tensor is not None and not isinstance(tensor, Tensor):
                raise InputError(f"{name} must be a torch tensor, not {type(tensor).__name__}")
        with self._bar(1, progress) as bar:
            outputs, self._report = self._session(
                whole_output(self.manifest), input_ids, attention_mask, token_type_ids, bar
            )
        return model_output(self.manifest, outputs)

    def encode(
        self, sentences: Sequence[str], *, batch_size: int = 8, truncate: bool = False, progress: bool | None = None
    ) -> Tensor:
        """Sentence embeddings: the mean over tokens, of length 1, computed inside the protocol.

        Args:
            sentences: a list of strings. The parties learn their number and the padded length of each batch.
            batch_size: most sentences in one session. Long ones travel fewer at a time, to bound the parties' memory.
            truncate: cut sentences that are too long, instead of refusing them.
            progress: show the layer at work; None does so when standard error is a terminal.

        Shapes: float32 [sentences, D], in the order of the sentences.
        Raises InputError before anything is sent, and SessionError and its kinds.
        """
        if self._tokenizer is None:
            raise CheckpointError(
                "the model's folder has no tokenizer (tokenizer.json or vocab.txt); add it, or pass token ids"
            )
        config = self._config
        ids = tokenize(
            self._tokenizer,
            sentences,
            limit=config.max_position_embeddings,
            vocabulary=config.vocab_size,
            truncate=truncate,
        )
        one_hot = config.table_rows if self.manifest.weights == "private" else 1
        parts = batches(ids, batch_size, self._tokenizer.pad_token_id or 0, one_hot=one_hot)
        embeddings = torch.empty(len(ids), config.hidden_size)
        reports = []
        with self._bar(len(parts), progress) as bar:
            for part in parts:
                outputs, report = self._session("embedding", part.input_ids, part.attention_mask, None, bar)
                embeddings[part.rows] = outputs["embedding"]
                reports.append(report)
        self._report = Report.total(reports)
        return embeddings

    @property
    def report(self) -> Report:
        """What the last call cost. Raises InputError before the first one."""
        if self._report is None:
            raise InputError("there is no report yet: make a prediction first")
        return self._report

    def unload(self) -> None:
        """Free the model's memory at all parties."""
        self._parties.client.unload_model(self.manifest.digest)

    def _session(
        self,
        output: Output,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        token_type_ids: Tensor | None,
        bar: LayerBar,
    ) -> tuple[dict[str, Tensor], Report]:
        """One prediction: encode, share, let the parties compute, reconstruct, decode."""
        request = make_request(output, input_ids, attention_mask)
        inputs = client_inputs(self.manifest, request, input_ids, attention_mask, token_type_ids, self._embeddings)
        payloads = share(inputs, input_specs(self.manifest, request))
        prediction = self._parties.client.predict(
            self.manifest.digest, self.manifest.policy.digest(), request, payloads, bar.watch
        )
        bar.session_done()
        specs = output_specs(self.manifest, request)
        outputs = decode_outputs(reconstruct(*prediction.payloads, specs), specs)
        report = Report.from_prediction(
            prediction,
            load_seconds=self.load_seconds,
            sequences=request.batch,
            tokens=request.batch * request.tokens,
        )
        return outputs, report

    def _bar(self, sessions: int, progress: bool | None) -> AbstractContextManager[LayerBar]:
        layers = self._config.num_hidden_layers + _OTHER_LAYERS
        return layer_bar(sessions, layers, progress)


def _load(parties: Parties, manifest: Manifest, shares: Mapping[str, Path] | None) -> float:
    """Make the model resident at the parties. Returns the seconds that it took."""
    started = time.monotonic()
    parties.client.load_model(manifest, shares)
    return time.monotonic() - started
