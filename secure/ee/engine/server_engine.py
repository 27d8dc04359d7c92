"""Runs an encrypted checkpoint with transformers, on the CPU or a graphics card.

The checkpoint is an ordinary one: nothing here knows of keys. Tokens are drawn by transformers' own `generate`, so that
what comes out is what any other caller of it gets.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    GenerationConfig,
    LogitsProcessor,
    StoppingCriteria,
)
from transformers.generation.streamers import BaseStreamer

from secure.ee.engine.server_model import load_model, padded, pool
from secure.ee.files.manifest import MANIFEST_NAME, read_manifest
from secure.generation.token_draw import TokenDraw, logprobs_of
from secure.parties.encrypted.engine import EncoderInputs, GenerationEngine, HiddenSequence, Pooling, Served
from secure.parties.encrypted.tokens import Emit, Finish, SamplingParameters, TokenLogprobs, TokenPiece
from secure.protocols.core.errors import InputError
from secure.protocols.core.transfer import find_device


class TransformersEngine(GenerationEngine):
    """One checkpoint in memory. Forward passes of several threads run side by side, each with a cache of its own."""

    def __init__(self, folder: Path, device: str = "cpu", name: str | None = None) -> None:
        """name: what clients call the model; the default is the folder's name.

        Raises CheckpointError for a folder that is no encrypted checkpoint, ConfigurationError for the device.
        """
        manifest = read_manifest(folder)
        # A file that was changed or is not encrypted must not be served; its owner would take the answers for right.
        manifest.check_files(folder)
        self._device = find_device(device)
        self._model = load_model(folder).eval()
        self._model.to(device=self._device)
        config = self._model.config
        # The client of a split checkpoint keeps embedding and head, and ids mean nothing here.
        takes_ids = self._model.main_input_name == "input_ids" and manifest.mode != "split"
        self.served = Served(
            name=name or folder.resolve().name,
            manifest=(folder / MANIFEST_NAME).read_text(encoding="utf-8"),
            key_check=manifest.key_check,
            vocabulary=int(config.vocab_size) if takes_ids else 0,
            context_tokens=int(getattr(config, "max_position_embeddings", 0) or _NO_LIMIT),
            width=int(getattr(config, "hidden_size", 0) or config.hidden_sizes[-1]),
        )
        self._generates = self._model.can_generate()
        if self._generates:
            # Whatever else the base's files ask for, tokens are the likeliest or drawn, one by one.
            self._model.generation_config.update(num_beams=1, penalty_alpha=None, dola_layers=None)
        padding = getattr(config, "pad_token_id", None)
        # Old configurations write −1 for "none".
        self._padding = None if padding is None or padding < 0 else int(padding)

    def generate(
        self, ids: Sequence[int], sampling: SamplingParameters, emit: Emit, cancelled: threading.Event
    ) -> Finish:
        """Tokens drawn by transformers' `generate`. Raises InputError as GenerationEngine says."""
        if not self._generates:
            raise InputError("this checkpoint does not generate; ask for embeddings or classes")
        stops = {*_as_list(self._model.generation_config.eos_token_id), *sampling.stop_ids}
        settings = GenerationConfig(
            max_new_tokens=sampling.max_new_tokens,
            # Draws come from `TokenDraw`: transformers' own use one generator for all threads.
            do_sample=False,
            eos_token_id=sorted(stops) or None,
            pad_token_id=min(stops, default=0),
        )
        drawn = _DrawnAlone(TokenDraw(sampling, self._device), sampling.logprobs)
        streamer = _Emit(emit, drawn)
        prompt = torch.tensor([list(ids)], device=self._device)
        with torch.inference_mode():
            self._model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                generation_config=settings,
                logits_processor=[drawn],
                stopping_criteria=[_Cancelled(cancelled)],
                streamer=streamer,
            )
        return "stop" if streamer.last in stops else "length"

    def embed(self, inputs: EncoderInputs, pooling: Pooling) -> Tensor:
        """Hidden states of the model without its head. Raises InputError as GenerationEngine says."""
        tensors = self._tensors(inputs)
        with torch.inference_mode():
            hidden = self._model.base_model(**tensors).last_hidden_state
        if hidden.dim() != 3:
            raise InputError("this model has feature maps, no hidden states of tokens; ask for classes")
        mask = tensors.get("attention_mask")
        mask = torch.ones(hidden.shape[:2], device=self._device) if mask is None else mask
        return pool(hidden, mask, pooling).cpu()

    def classify(self, inputs: EncoderInputs) -> Tensor:
        """Logits of the model with its head. Raises InputError as GenerationEngine says."""
        kind = type(self._model).__name__
        if kind.endswith(OF_TOKENS):
            return self._classify_tokens(inputs)
        if not kind.endswith("Classification"):
            raise InputError("this checkpoint is no classifier")
        if self._padding is None and len(inputs.rows) > 1:
            # Without an id for padding a causal classifier cannot tell where a row ends, unless it is alone.
            types = inputs.token_types
            kinds = [None] * len(inputs.rows) if types is None else [[kind] for kind in types]
            alone = (EncoderInputs([row], kind) for row, kind in zip(inputs.rows, kinds, strict=True))
            return torch.cat([self.classify(each) for each in alone])
        tensors = self._tensors(inputs)
        with torch.inference_mode():
            logits: Tensor = self._model(**tensors).logits
        return logits.cpu()

    def _classify_tokens(self, inputs: EncoderInputs) -> Tensor:
        tensors = self._tensors(inputs)
        with torch.inference_mode():
            output = self._model(**tensors)
        spans = "start_logits" in output
        logits = torch.stack([output.start_logits, output.end_logits], -1) if spans else output.logits
        return (logits * tensors["attention_mask"][..., None]).cpu()

    def begin(self) -> HiddenSequence:
        """A sequence with a cache of its own. Raises InputError as GenerationEngine says."""
        if not self._generates:
            raise InputError("this checkpoint does not generate, so there is no sequence to continue")
        return _Sequence(self._model.base_model, self._device, self._model.dtype)

    def _tensors(self, inputs: EncoderInputs) -> dict[str, Tensor]:
        """What the model takes, padded at the end. Raises InputError when the inputs are something else."""
        rows, token_types, pixels = inputs.rows, inputs.token_types, inputs.pixels
        if self._model.main_input_name == "pixel_values":
            if pixels is None or rows:
                raise InputError("this model takes images, not token ids")
            _check_images(self._model.config, pixels)
            return {"pixel_values": pixels.to(self._device, self._model.dtype)}
        if pixels is not None or not rows:
            raise InputError("this model takes token ids, not images")
        tensors = {
            # Causal classifiers take a row to end before this id, whatever the mask says.
            "input_ids": padded(rows, self._device, self._padding or 0),
            "attention_mask": padded([[1] * len(row) for row in rows], self._device),
        }
        if token_types is not None:
            kinds = int(getattr(self._model.config, "type_vocab_size", 0))
            if max(map(max, token_types)) >= kinds:
                raise InputError(f"this model has {kinds} token types")
            tensors["token_type_ids"] = padded(token_types, self._device)
        return tensors


OF_TOKENS = ("ForTokenClassification", "ForQuestionAnswering")
"""How the names of classes end whose heads say something of every token."""
_NO_LIMIT = 1 << 20
"""Positions of a model whose configuration names no limit."""


def _check_images(config: Any, pixels: Tensor) -> None:
    """Raises InputError for images of another shape than the model takes. A CNN takes any height and width."""
    size = getattr(config, "image_size", None) or tuple(pixels.shape[2:])
    due = [config.num_channels, *((size, size) if isinstance(size, int) else size)]
    if list(pixels.shape[1:]) != due:
        raise InputError(f"images must be {due}")


class _Sequence(HiddenSequence):
    def __init__(self, body: Any, device: torch.device, dtype: torch.dtype) -> None:
        self._body = body
        self._device = device
        self._dtype = dtype
        self._cache = DynamicCache()

    def extend(self, embeddings: Tensor) -> Tensor:
        inputs = embeddings.to(self._device, self._dtype)[None]
        with torch.inference_mode():
            output = self._body(inputs_embeds=inputs, past_key_values=self._cache, use_cache=True)
        hidden: Tensor = output.last_hidden_state[0]
        return hidden.cpu()


class _Emit(BaseStreamer):
    """Hands on every token but those of the prompt, which `generate` puts first."""

    last: int | None = None

    def __init__(self, emit: Emit, drawn: _DrawnAlone) -> None:
        self._emit = emit
        self._drawn = drawn
        self._prompt = True

    def put(self, value: Tensor) -> None:
        if self._prompt:
            self._prompt = False
            return
        for token in value.view(-1).tolist():
            self.last = token
            self._emit(TokenPiece([token], logprobs=self._drawn.told))

    def end(self) -> None:
        """Nothing is held back."""


class _Cancelled(StoppingCriteria):
    def __init__(self, cancelled: threading.Event) -> None:
        self._cancelled = cancelled

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Any:
        return torch.full((input_ids.shape[0],), self._cancelled.is_set(), device=input_ids.device)


class _DrawnAlone(LogitsProcessor):
    """Draws a token, and leaves it as the only one possible."""

    def __init__(self, draw: TokenDraw, logprobs: int | None) -> None:
        """logprobs: as in SamplingParameters."""
        self._draw = draw
        self._logprobs = logprobs
        self.told: list[TokenLogprobs] = []
        """What is told of the token that was drawn last, where it is asked for."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        token = self._draw(scores)
        if self._logprobs is not None:
            self.told = [logprobs_of(scores[0], int(token), self._logprobs)]
        return torch.full_like(scores, -torch.inf).scatter(1, token[:, None], 0.0)


def _as_list(ids: int | Sequence[int] | None) -> list[int]:
    return [] if ids is None else [ids] if isinstance(ids, int) else list(ids)
