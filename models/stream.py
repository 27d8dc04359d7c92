"""By which power of two a decoder's residual stream is scaled, so that it fits the range of secure arithmetic.

What leaves that range is not clipped but wrong, and real models' streams do leave it. Some begin with embeddings that
are too small for a norm, and in most a few coordinates of the first token grow to thousands of times what the others
are, whatever the input is (Sun et al., Massive activations in large language models, 2024). So a few arbitrary tokens
tell, in a run in the clear at the checkpoint's owner. Norms do not see a factor: everything that writes to the stream
takes it, and a norm's epsilon its square.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from models.capacity import available_bytes, human_bytes
from models.deferred import computed
from models.manifest import TABLE_VALUE_BITS
from protocols.core.errors import CheckpointError
from protocols.functions.layernorm import LEAST_MEAN_SQUARE, most_mean_square

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MOST_EXPONENT = 12
SMALL_MEAN_SQUARE = 2.0**-12
"""Below this the first norm of a typical token loses precision: a unit is a thousandth of an entry."""
_SPARE = 2.0  # other inputs' streams may be so much larger than what was seen
_SEQUENCES, _TOKENS = 4, 32
_STRIDE = 7919  # a prime, so that tokens come from all of the vocabulary
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StreamRange:
    """What the norms of a decoder see.

    typical: median of a token's mean square before the first one, and embedding the largest number there. largest: the
    largest mean square of a token before any norm, and magnitude the largest number. width: of the stream.
    """

    typical: float
    embedding: float
    largest: float
    magnitude: float
    width: int

    def exponent(self, value_bits: int) -> int:
        """The k nearest to zero for which the stream times 2^k fits: rather too small than too large.

        Raises CheckpointError when it is then so small that a norm would be wrong, or when k is out of range.
        """
        most = math.floor(
            min(
                math.log2(2.0**TABLE_VALUE_BITS / _SPARE / self.embedding),
                math.log2(2.0**value_bits / _SPARE / self.magnitude),
                math.log2(most_mean_square(self.width) / _SPARE**2 / self.largest) / 2,
            )
        )
        least = math.ceil(math.log2(SMALL_MEAN_SQUARE / self.typical) / 2)
        found = min(max(0, least), most)
        if math.ldexp(self.typical, 2 * found) < LEAST_MEAN_SQUARE:
            raise CheckpointError(
                f"the residual stream reaches {self.magnitude:.2g} where its embeddings have a mean square of "
                f"{self.typical:.2g}: both do not fit one range. With stream_exponent you choose which one does"
            )
        check_exponent(found)
        return found


def check_exponent(exponent: int) -> None:
    """Raises CheckpointError for one that no model needs."""
    if abs(exponent) > MOST_EXPONENT:
        raise CheckpointError(
            f"stream_exponent is {exponent}; supported is -{MOST_EXPONENT} to {MOST_EXPONENT}: "
            "the residual stream is held times 2^stream_exponent"
        )


def measured_exponent(folder: Path, table: Tensor, vocabulary: int, positions: int, value_bits: int) -> int:
    """The exponent for a checkpoint's decoder, from a run in the clear, or its embedding table alone where memory does
    not suffice for one. Raises CheckpointError when there is none."""
    needed, free = sum(path.stat().st_size for path in folder.glob("*.safetensors")), available_bytes()
    if free is not None and 2 * needed > free:
        _log.warning(
            "%s takes %s and %s of memory are free: how large its residual stream becomes is not measured. "
            "If outputs are wrong, name a stream_exponent, such as -3",
            folder,
            human_bytes(needed),
            human_bytes(free),
        )
        values = computed(table)
        squares, largest = values.square().mean(1), float(values.abs().max())
        found = StreamRange(float(squares.median()), largest, float(squares.max()), largest, values.shape[1])
        return found.exponent(value_bits)
    return stream_range(folder, vocabulary, positions).exponent(value_bits)


def stream_range(folder: Path, vocabulary: int, positions: int) -> StreamRange:
    """What a decoder's norms see of some sequences with tokens from all of its vocabulary.

    Takes the memory of the whole model in its own number type, and some seconds for a billion weights.
    """
    model = _loaded(folder)
    seen: list[Tensor] = []
    peaks: list[float] = []

    def look(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        stream = inputs[0].to(torch.float32)
        seen.append(stream.square().mean(-1).flatten())
        peaks.append(float(stream.abs().max()))

    for module in model.modules():
        if isinstance(module, nn.LayerNorm) or type(module).__name__.endswith("RMSNorm"):
            module.register_forward_pre_hook(look)
    tokens = min(_TOKENS, positions)
    ids = torch.arange(1, _SEQUENCES * tokens + 1).mul(_STRIDE).remainder(vocabulary).reshape(_SEQUENCES, tokens)
    start = model.config.bos_token_id
    if isinstance(start, int) and 0 <= start < vocabulary:
        ids[0, 0] = start
    with torch.inference_mode():
        model(input_ids=ids)
    largest, width = max(float(part.max()) for part in seen), model.config.hidden_size
    found = StreamRange(float(seen[0].median()), peaks[0], largest, max(peaks), width)
    if not (math.isfinite(found.magnitude) and found.typical > 0):
        raise CheckpointError(f"{folder}: the model's hidden states are not finite, or zero everywhere")
    return found


def _loaded(folder: Path) -> PreTrainedModel:
    """Without a word on standard error: this is one step of many."""
    # Parties import this module with their models, and have no use for transformers.
    from transformers import AutoModel
    from transformers.utils import logging as transformers_logging

    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        loaded, found = AutoModel.from_pretrained(folder, dtype="auto", output_loading_info=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"transformers cannot load {folder} to measure its residual stream ({type(error).__name__}: {error}); "
            "with stream_exponent nothing is measured"
        ) from None
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
    if found["missing_keys"]:
        # Filled with random numbers. LLaMA's and Qwen2's models that answer questions call their body by another name.
        raise CheckpointError(
            f"transformers does not find {min(found['missing_keys'])!r} in {folder}, to measure its residual stream; "
            "name stream_exponent, nearly always 0"
        )
    model: PreTrainedModel = loaded.eval()
    return model
