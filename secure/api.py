"""The Python API: load a model on the parties, predict with it, keep the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedTokenizerBase
from transformers.generation.streamers import BaseStreamer
from transformers.generation.utils import GenerateDecoderOnlyOutput

from secure.arguments import checked
from secure.arrays import Array, as_tensor_or_none
from secure.checking import named_inputs
from secure.connection import Parties
from secure.generation.defaults import GenerationConfig, read_generation_config
from secure.generation.options import GenerationOptions, GenerationSettings
from secure.generation.prompts import Prompt, expanded, pieces, prompt_ids, shown, whole
from secure.generation.run import Generation
from secure.loaded_model import ResidentModel
from secure.loading import Loaded, load_folder
from secure.model_config import model_config, read_config_fields
from secure.models.contract.manifest import WeightVisibility
from secure.models.contract.rehearsal import RangeCheck
from secure.models.families.decoder import Decoder
from secure.models.families.encoder import Encoder
from secure.models.families.outputs import model_output
from secure.module import PrivateModule
from secure.protocols.core.errors import ConfigurationError, InputError
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.report.report import Report
from secure.split import check_folder
from secure.tokens import batches, check_rows, load_tokenizer, required, tokenize


class PrivateModel(ResidentModel):
    """A transformer, maybe with a head, that the computing parties hold in shares. Make one with `from_pretrained`.

    `from_module` takes any other model, as far as its operators are served.
    """

    def __init__(
        self,
        load: Callable[..., Loaded],
        parties: Parties,
        *,
        progress: bool | None,
        tokenizer: PreTrainedTokenizerBase | None,
        generation_config: GenerationConfig | None = None,
        config_fields: Mapping[str, Any] | None = None,
    ) -> None:
        """load, progress: as for every model of the parties.

        generation_config: what the checkpoint says about generation. config_fields: its config.json.
        """
        super().__init__(load, parties, progress)
        self.id2label = dict(self._labels)
        self.tokenizer = tokenizer
        """None where the model's folder has none."""
        self._generation_config = generation_config
        self._config_fields = config_fields or {}

    @property
    def config(self) -> PretrainedConfig:
        """The checkpoint's config.json in transformers' class. Raises CheckpointError where the folder has none."""
        return model_config(self._config_fields)

    @classmethod
    @checked
    def from_pretrained(
        cls,
        path: Path | str,
        *,
        parties: Parties,
        weights: WeightVisibility | None = None,
        protocol: str | None = None,
        policy: FixedPointPolicy | None = None,
        head: bool = True,
        stream_exponent: int | None = None,
        progress: bool | None = None,
    ) -> PrivateModel:
        """Load a model on the parties.

        Args:
            path: a checkpoint folder (config.json, safetensors, tokenizer), which is split here and uploaded; or a
                folder made by `secure split`. Where the split folder lacks the share files, each party serves its own.
            weights: who may see them: "private" (the default for a checkpoint) nobody, "public" all parties,
                "server" P1 alone, whose operator is then the model's owner. A split folder has its own; naming
                another one is an error.
            protocol: "beaver", "replicated", "witnessed" and so on, as for `launch`; the default is that of the
                parties, and naming another one an error.
            policy: how numbers are represented and functions computed, such as FixedPointPolicy(functions="puma"). A
                split folder has its own; naming another one is an error.
            head: whether a checkpoint's head is loaded along: the one that `architectures` in its config.json names, a
                classifier of sequences, of tokens or of images, one for masked words, or a language model's. Of a
                split folder that has one it cannot be left out.
            stream_exponent: of a language model: its residual stream is held times 2^stream_exponent, so that it stays
                below 2^13, where secure arithmetic ends, and above the last bits. By default it is found by running the
                checkpoint on some tokens in the clear, here, and nearly always 0. A split folder has its own; naming
                another one is an error.
            progress: show what is going on; None does so when standard error is a terminal.

        Raises CheckpointError and ConfigurationError before anything is shared, and SessionError and its kinds.
        """
        folder = Path(path)
        if protocol not in (None, parties.protocol):
            raise ConfigurationError(
                f"these parties compute by the protocol {parties.protocol!r}, {protocol!r} is asked for; "
                "launch or connect to parties of that one"
            )
        check_folder(folder, "a checkpoint or a split checkpoint")
        # First: the tokenizer reads config.json, too, and would be blamed for it.
        generation_config = read_generation_config(folder)
        tokenizer = load_tokenizer(folder)
        load = partial(
            load_folder, folder, parties, weights=weights, policy=policy, head=head, stream_exponent=stream_exponent
        )
        return cls(
            load,
            parties,
            progress=progress,
            tokenizer=tokenizer,
            generation_config=generation_config,
            config_fields=read_config_fields(folder),
        )

    @classmethod
    @checked
    def from_module(
        cls,
        module: torch.nn.Module,
        example_inputs: Tensor | Sequence[Tensor],
        *,
        parties: Parties,
        weights: WeightVisibility = "private",
        progress: bool | None = None,
    ) -> PrivateModule:
        """Capture a torch module, share its weights and load it on the parties. See `PrivateModule.from_module`."""
        return PrivateModule.from_module(module, example_inputs, parties=parties, weights=weights, progress=progress)

    def __call__(
        self,
        input_ids: Array | None = None,
        attention_mask: Array | None = None,
        token_type_ids: Array | None = None,
        *,
        pixel_values: Array | None = None,
        progress: bool | None = None,
    ) -> Any:
        """The model's outputs for token ids or images, all in one session, in the class that transformers returns.

        Inputs are tensors, numpy arrays or lists.

        Shapes: integer [B, T] -> logits float32 [B, labels] of a SequenceClassifierOutput, [B, T, labels] of a
        TokenClassifierOutput, [B, T, V] of a MaskedLMOutput or a CausalLMOutputWithPast, start_logits and end_logits
        [B, T] of a QuestionAnsweringModelOutput; without a head
        last_hidden_state float32 [B, T, D] and pooler_output float32 [B, D] or None of a BaseModelOutputWithPooling
        (DistilBERT, language models: a BaseModelOutput, without).
        The type is left open, as the checkpoint decides it. `id2label` names a classifier's labels. A language model
        counts positions from the start of a row, padding included, as transformers' do where no position_ids are given.

        A model of images takes pixel_values alone, as its image processor returns them:

            processor = transformers.AutoImageProcessor.from_pretrained(path)
            logits = model(pixel_values=processor(images=image, return_tensors="pt")["pixel_values"]).logits

        Shapes: float [B, C, H, W] -> logits float32 [B, labels] of an ImageClassifierOutput; without a head the
        hidden states of class token and patches, float32 [B, N + 1, D], of a BaseModelOutputWithPooling.

        Raises InputError before anything is sent, and SessionError and its kinds.
        """
        tensors = named_inputs(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            pixel_values=pixel_values,
        )
        with self._bar(1, progress) as bar:
            outputs, report = self._session(self._network.whole_output, tensors, bar)
        self._keep(report)
        return model_output(self._network, outputs)

    def check(self, **inputs: Array) -> RangeCheck:
        """Which layer and value leave the range of secure arithmetic for these inputs, as `secure.check` says it.

        The model runs in the clear, here, where its checkpoint is; nothing is sent. inputs: as of a call, by name.
        Raises InputError for inputs that the model does not take, and where its weights are not here.
        """
        return self._check(named_inputs(**inputs))

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
        config, tokenizer = self._encoder.config, required(self.tokenizer)
        limits = {"limit": config.max_position_embeddings, "vocabulary": config.vocab_size}
        ids = tokenize(tokenizer, sentences, truncate=truncate, **limits)
        return self.embed(ids, batch_size=batch_size, progress=progress)

    def embed(self, rows: Sequence[Sequence[int]], *, batch_size: int = 8, progress: bool | None = None) -> Tensor:
        """What `encode` gives, for sentences as token ids, special tokens included. Arguments and errors as for it."""
        config = self._encoder.config
        check_rows(rows, limit=config.max_position_embeddings, vocabulary=config.vocab_size)
        one_hot = 1 if self.manifest.weights == "public" else config.table_rows
        padding = 0 if self.tokenizer is None else self.tokenizer.pad_token_id or 0
        parts = batches(rows, batch_size, padding, one_hot=one_hot)
        embeddings = torch.empty(len(rows), config.hidden_size)
        reports = []
        with self._bar(len(parts), progress) as bar:
            for part in parts:
                inputs = {"input_ids": part.input_ids, "attention_mask": part.attention_mask}
                outputs, report = self._session("embedding", inputs, bar)
                embeddings[part.rows] = outputs["embedding"]
                reports.append(report)
        self._keep(Report.total(reports))
        return embeddings

    @property
    def _encoder(self) -> Encoder:
        """The network, where it is one that has sentence embeddings. Raises InputError."""
        if not isinstance(self._network, Encoder):
            raise InputError(f"a model of type {self.manifest.architecture!r} has no sentence embeddings")
        return self._network

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

        One session makes all tokens. Keys and values of earlier tokens stay with the parties, masked, so that a new
        token costs the same however long the text is, but for its scores. The parties learn the lengths of prompts and
        outputs.

        Args:
            input_ids: the prompts; or one prompt as text. attention_mask: 0 marks padding, at the start of rows;
                without one every token counts.
            padding: "secret" (the default) shares the mask, so that the parties learn that there is padding and not
                where; "public" tells them how much of it each row has, which is a little faster.
            max_new_tokens: most tokens to add, 20 by default; max_length counts those of the prompt, too.
                min_new_tokens: how many come before a row may end.
            do_sample: draw from the distribution, by torch's global generator; otherwise the likeliest token is taken.
                temperature, top_k (50), top_p and min_p shape it, at the client. num_return_sequences: of each prompt.
            repetition_penalty, no_repeat_ngram_size, suppress_tokens, begin_suppress_tokens: change the logits before
                that, by transformers' own processors, at the client. logits_processor: a list of others.
            stopping_criteria: a list of functions that end rows, as transformers' StoppingCriteria do.
            return_dict_in_generate: return a GenerateDecoderOnlyOutput; with output_scores its scores are what each
                token was chosen by, float32 [B, V].
            generation_config: a transformers.GenerationConfig with any of these; those that are given by name count.
            eos_token_id: ends a row; None: nothing does. pad_token_id: what follows in it; None: the first eos.
            stop_strings: texts after which a row ends; a prompt that is text gets a text that ends before the first.
                All of these that are not given are what the checkpoint's generation_config.json says, or config.json
                where there is none. Where neither names an eos or padding, the tokenizer's are taken. Other fields that
                would change the result, such as num_beams, are refused by name.
            reveal: "logits" lets this client have the logits of every next token. "token" finds the likeliest one
                inside the protocol, so that the model's owner gives no more away; what needs logits is then refused.
            streamer: such as transformers' TextStreamer; for a batch of one.
            progress: show the layer at work; None does so when standard error is a terminal and there is no streamer.

        Shapes: int64 [B, T] -> [B, T + N], N at most max_new_tokens; text -> text.
        Raises InputError before anything is sent, and SessionError and its kinds.
        """
        generation, columns = self._columns(input_ids, attention_mask, options, streamer, progress)
        sequences = whole(input_ids, generation.ids, columns, self.tokenizer, generation.settings)
        if not generation.settings.return_dict:
            return sequences
        return GenerateDecoderOnlyOutput(sequences=sequences, scores=generation.scores)  # type: ignore[arg-type] # of any length

    def stream(
        self,
        input_ids: Prompt,
        attention_mask: Array | None = None,
        *,
        progress: bool | None = None,
        **options: Unpack[GenerationOptions],
    ) -> Iterator[Any]:
        """What `generate` appends, each as soon as it is there: tokens int64 [B], or of a text the pieces after it.

        Arguments and errors as for `generate`. Closing the iterator ends the session.
        """
        generation, columns = self._columns(input_ids, attention_mask, options, None, progress)
        return pieces(input_ids, columns, self.tokenizer, generation.settings)

    def _columns(
        self,
        prompt: Prompt,
        mask: Array | None,
        options: GenerationOptions,
        streamer: BaseStreamer | None,
        progress: bool | None,
    ) -> tuple[Generation, Iterator[Tensor]]:
        """The generation, and int64 [B, 1] at each step. What is wrong is said here, before the first is asked for."""
        settings = self._settings(options, ids := prompt_ids(prompt, self.tokenizer))
        settings.config.check_served(do_sample=settings.do_sample)
        ids, rows_mask = expanded(prompt, ids, as_tensor_or_none("attention_mask", mask), settings)
        # Stop strings of a text are looked for where it is decoded.
        reader = None if isinstance(prompt, str) else self.tokenizer
        stock = self._parties.client.from_stock
        generation = Generation(self._network, self._tables, settings, ids, rows_mask, reader, from_stock=stock)
        columns = self._generate(generation, progress if streamer is None else progress or False)
        return generation, columns if streamer is None else shown(columns, ids, streamer)

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """Tokens that end an answer: the checkpoint's, or else its tokenizer's. Raises InputError as `generate`."""
        return self._settings({}, torch.empty(1, 0)).eos

    def _settings(self, options: GenerationOptions, ids: Tensor) -> GenerationSettings:
        if not isinstance(self._network, Decoder):
            raise InputError(f"a model of type {self.manifest.architecture!r}: it does not generate")
        sizes, config = self._network.sizes, self._generation_config
        return GenerationSettings(
            self.tokenizer, options, config, vocabulary=sizes.vocabulary, prompt=ids, room=lambda: sizes.positions
        )

    def _generate(self, generation: Generation, progress: bool | None) -> Iterator[Tensor]:
        request = generation.request
        with (
            self._bar(generation.settings.max_new_tokens, progress) as bar,
            self._parties.client.converse(*self._digests, request, request.steps, bar.watch) as conversation,
        ):
            try:
                while not generation.done:
                    column = generation.step(conversation.step)
                    bar.session_done()
                    yield column
            except GeneratorExit:
                pass  # whoever reads has enough: the session ends in good order
        self._keep(self._report_of(request, conversation.costs, generation.tokens))
