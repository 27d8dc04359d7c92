"""Prompts as a caller gives them, ids or a text, and what follows them in the same kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from transformers.generation.streamers import BaseStreamer

from secure.arrays import Array, as_tensor
from secure.generation.options import GenerationSettings
from secure.generation.text_stream import StopStrings, TextStream
from secure.protocols.core.errors import InputError
from secure.tokens import required

Prompt = Array | str
"""Ids of prompts, integer [B, T], or one prompt as text."""


def prompt_ids(prompt: Prompt, tokenizer: PreTrainedTokenizerBase | None) -> Tensor:
    """The ids of a prompt; those that are given stay as they are, whatever is wrong with their shape.

    Raises CheckpointError for a text where there is no tokenizer, InputError for one without tokens, and for what is no
    array.
    """
    if not isinstance(prompt, str):
        return as_tensor("input_ids", prompt)
    ids: list[int] = required(tokenizer)(prompt, verbose=False)["input_ids"]
    if not ids:
        raise InputError("the prompt is empty; it must have one token or more")
    return torch.tensor([ids])


def expanded(
    prompt: Prompt, ids: Tensor, mask: Tensor | None, settings: GenerationSettings
) -> tuple[Tensor, Tensor | None]:
    """Every prompt as often as it is to go on, one behind the other, and its mask.

    Raises InputError for what only ids can have: several continuations, or scores beside them.
    """
    if isinstance(prompt, str) and (settings.sequences > 1 or settings.return_dict):
        name = "num_return_sequences" if settings.sequences > 1 else "return_dict_in_generate"
        raise InputError(f"{name}: a text gives one text; pass token ids")
    times = settings.sequences
    return ids.repeat_interleave(times, 0), None if mask is None else mask.repeat_interleave(times, 0)


def whole(
    prompt: Prompt,
    ids: Tensor,
    columns: Iterator[Tensor],
    tokenizer: PreTrainedTokenizerBase | None,
    settings: GenerationSettings,
) -> Any:
    """A prompt and what follows it. Shapes: int64 [B, T] and columns of int64 [B, 1] -> [B, T + N]; text -> text.

    Ids are cut where their rows end, a text before the first stop string.
    """
    if isinstance(prompt, str):
        return prompt + "".join(_texts(columns, tokenizer, settings.stop_strings))
    return torch.cat([ids.cpu().long(), *columns], 1)


def pieces(
    prompt: Prompt, columns: Iterator[Tensor], tokenizer: PreTrainedTokenizerBase | None, settings: GenerationSettings
) -> Iterator[Any]:
    """What follows a prompt, as it comes: int64 [B] at each step, or pieces of text. Closing it closes the columns."""
    if isinstance(prompt, str):
        return _texts(columns, tokenizer, settings.stop_strings)
    return (column.squeeze(1) for column in columns)


def shown(columns: Iterable[Tensor], input_ids: Tensor, streamer: BaseStreamer) -> Iterator[Tensor]:
    """The columns, after a streamer has seen each of them. Raises InputError at once for more than one prompt."""
    if len(input_ids) != 1:
        raise InputError(f"a streamer takes one prompt, not {len(input_ids)}")
    return _shown(columns, input_ids, streamer)


def _shown(columns: Iterable[Tensor], input_ids: Tensor, streamer: BaseStreamer) -> Iterator[Tensor]:
    streamer.put(input_ids)
    for column in columns:
        streamer.put(column.squeeze(1))
        yield column
    streamer.end()


def _texts(columns: Iterator[Tensor], tokenizer: object, stop_strings: Sequence[str]) -> Iterator[str]:
    decoder, stops = TextStream(tokenizer), StopStrings(stop_strings)
    with closing(columns):  # type: ignore[type-var]
        for column in columns:
            if text := stops.feed(decoder.feed(int(column))):
                yield text
            if stops.stopped:
                return
    if text := stops.feed(decoder.flush()) + stops.flush():
        yield text
