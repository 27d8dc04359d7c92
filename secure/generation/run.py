"""One generation at the client: prompts in, and at each step the tokens that every row goes on with."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from secure.generation.next_token import GeneratedRows, NextToken
from secure.generation.options import GenerationSettings
from secure.models.contract.exchange import input_payloads, step_outputs
from secure.models.contract.network import Network
from secure.models.contract.request import Output
from secure.models.families.decoder import Decoder
from secure.models.inputs.token_inputs import with_public_padding

Exchange = Callable[[tuple[bytes, ...]], tuple[bytes, ...]]
"""Sends P0 and P1 their payloads, and brings theirs."""


class Generation:
    """State between steps. `request` is what the parties are told at the beginning."""

    def __init__(
        self,
        network: Network,
        tables: Mapping[str, Tensor],
        settings: GenerationSettings,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        tokenizer: PreTrainedTokenizerBase | None,
        *,
        from_stock: bool = False,
    ) -> None:
        """One call, for prompts of ids.

        tables: what the client looks up with public weights. tokenizer: as for `GeneratedRows`. from_stock: whether the
        session is to find a deal in stock, which is for 16 steps, 64 or 256.

        Raises InputError for prompts that are wrong.
        """
        self._network = network
        self._tables = tables
        self.ids = input_ids
        self._inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        output: Output = "next_token" if settings.reveal == "token" else "next_logits"
        self.request = network.request(output, self._inputs, steps=settings.max_new_tokens)
        if from_stock and isinstance(network, Decoder):
            self.request = self.request.with_steps_dealt(network.sizes.positions)
        if settings.public_padding:
            self.request = with_public_padding(self.request, attention_mask)
        self._payloads = input_payloads(network, self.request, self._inputs, tables)
        self._rows = GeneratedRows(settings, input_ids, tokenizer)
        self.settings = settings
        self._next_token = NextToken(settings, input_ids, attention_mask)
        self._step = 0

    @property
    def done(self) -> bool:
        """Whether every row has ended, or no step is left."""
        return self._rows.ended or self._step == self.settings.max_new_tokens

    @property
    def scores(self) -> tuple[Tensor, ...] | None:
        """What each step's tokens were chosen by, float32 [B, V]; None where it was not asked for."""
        return tuple(self._next_token.scores) if self.settings.output_scores else None

    @property
    def tokens(self) -> int:
        """How many tokens of each row the parties took in."""
        return self.request.tokens + max(self._step - 1, 0)

    def step(self, exchange: Exchange) -> Tensor:
        """The next token of every row. Shapes: -> int64 [B, 1]."""
        outputs = step_outputs(self._network, self.request, exchange(self._payloads), self._step)
        chosen = self._next_token(self._rows.ids, outputs["logits"]) if "logits" in outputs else outputs["token"]
        column = self._rows.append(chosen).unsqueeze(1)
        self._step += 1
        if not self.done:
            inputs = {**self._inputs, "input_ids": column}
            self._payloads = input_payloads(self._network, self.request, inputs, self._tables, self._step)
        return column
