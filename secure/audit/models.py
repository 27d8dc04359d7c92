"""Who answers: a checkpoint in the clear, here, and a private model at its parties."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

from secure.api import PrivateModel
from secure.audit.compare import MOST_TOKENS, Answer, Kind, named, vectors
from secure.clear_model import read_raw_config
from secure.protocols.core.errors import CheckpointError
from secure.tokens import load_tokenizer, required


def kind_of(folder: Path) -> Kind:
    """What a checkpoint answers to a text, by the class that its config.json names. Raises CheckpointError."""
    names = read_raw_config(folder).get("architectures") or [""]
    if str(names[0]).endswith(("ForCausalLM", "LMHeadModel")):
        return "next_token"
    if str(names[0]).endswith("ForSequenceClassification"):
        return "classes"
    if str(names[0]).endswith(("Classification", "QuestionAnswering", "MaskedLM")):
        raise CheckpointError(
            f"{folder}: audits are of embeddings, classes of texts and language models, not {names[0]}"
        )
    return "embedding"


class ClearModel:
    """A checkpoint as transformers computes it, in float32, one text at a time."""

    def __init__(self, folder: Path) -> None:
        """Raises CheckpointError for one without a tokenizer, or of a kind that is not audited."""
        self.kind = kind_of(folder)
        self.tokenizer = required(load_tokenizer(folder))
        classes: dict[Kind, Any] = {
            "embedding": AutoModel,
            "classes": AutoModelForSequenceClassification,
            "next_token": AutoModelForCausalLM,
        }
        self.model = classes[self.kind].from_pretrained(folder, dtype=torch.float32).eval()

    def __call__(self, texts: Sequence[str]) -> list[Answer]:
        """The true answers."""
        with torch.inference_mode():
            return [self._answer(text) for text in texts]

    def _answer(self, text: str) -> Answer:
        given = self.tokenizer(text, return_tensors="pt")
        ids, mask = given["input_ids"], given["attention_mask"]
        if self.kind == "embedding":
            # The mean over tokens, of length 1, is what `encode` gives.
            mean = self.model(input_ids=ids, attention_mask=mask).last_hidden_state.mean(1)
            return vectors(torch.nn.functional.normalize(mean))[0]
        logits = self.model(input_ids=ids, attention_mask=mask).logits
        return vectors(logits)[0] if self.kind == "classes" else likeliest(logits[0, -1], self.tokenizer)


def likeliest(logits: Tensor, tokenizer: Any, count: int = MOST_TOKENS) -> Answer:
    """The likeliest next tokens. Shapes: [V]."""
    values, ids = torch.log_softmax(logits.double(), -1).topk(min(count, len(logits)))
    return Answer(tuple(values.tolist()), tuple(named(tokenizer, token) for token in ids.tolist()))


class AuditedModel:
    """A private model that is asked texts, by the very calls that users make: the parties see the same of a canary."""

    def __init__(self, model: PrivateModel, kind: Kind, *, batch_size: int = 8, new_tokens: int = 1) -> None:
        """batch_size: most sentences in a session. new_tokens: of a language model, as users ask for."""
        self._model, self._kind = model, kind
        self._batch_size, self._new_tokens = batch_size, new_tokens

    def __call__(self, texts: Sequence[str]) -> list[Answer]:
        """Raises InputError, and SessionError and its kinds."""
        if self._kind == "embedding":
            return vectors(self._model.encode(list(texts), batch_size=self._batch_size))
        return [self._answer(text) for text in texts]

    def _answer(self, text: str) -> Answer:
        tokenizer = required(self._model.tokenizer)
        given = tokenizer(text, return_tensors="pt")
        ids, mask = given["input_ids"], given["attention_mask"]
        if self._kind == "classes":
            return vectors(self._model(input_ids=ids, attention_mask=mask).logits)[0]
        told = self._model.generate(
            ids,
            max_new_tokens=self._new_tokens,
            do_sample=False,
            output_scores=True,
            return_dict_in_generate=True,
        )
        return likeliest(told.scores[0][0], tokenizer)
