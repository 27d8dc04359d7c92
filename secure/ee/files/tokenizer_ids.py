"""A tokenizer whose ids are the encrypted model's, for clients that want no code of ours.

`tokenizer.json` of the package tokenizers names each token beside its id: the vocabulary, the added tokens, the special
tokens that the post-processor inserts, the padding. All of them move, and `encode` then gives what goes to the server.
Such a file spells the permutation out. It is as secret as the key, lies in a private folder, and is made on request
only; the encrypted checkpoint never has one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secure.protocols.core.errors import CheckpointError
from secure.protocols.equivariant.factors.vocabulary import Vocabulary

Table = list[int]
_DICTIONARIES = ("BPE", "WordPiece", "WordLevel")


def largest_id(tokenizer: Mapping[str, Any]) -> int:
    """The largest id of a tokenizer.json. Raises CheckpointError for one that has no vocabulary."""
    vocabulary = _model(tokenizer).get("vocab")
    added = [int(token["id"]) for token in tokenizer.get("added_tokens") or []]
    if isinstance(vocabulary, dict):
        return max([*map(int, vocabulary.values()), *added], default=-1)
    if isinstance(vocabulary, list):
        return max([len(vocabulary) - 1, *added])
    raise CheckpointError("tokenizer.json has no vocabulary")


def encrypt_tokenizer(tokenizer: Mapping[str, Any], vocabulary: Vocabulary) -> dict[str, Any]:
    """A tokenizer.json with every id moved. Raises CheckpointError for what cannot be moved, and ids out of range."""
    top = largest_id(tokenizer)
    if top >= vocabulary.size:
        raise CheckpointError(f"the tokenizer has id {top}, the model knows 0 to {vocabulary.size - 1}")
    table = _table(vocabulary)
    moved = dict(tokenizer)
    added = tokenizer.get("added_tokens") or []
    moved["added_tokens"] = sorted(
        ({**token, "id": table[token["id"]]} for token in added), key=lambda token: int(token["id"])
    )
    moved["model"] = _moved_model(_model(tokenizer), added, table)
    if tokenizer.get("post_processor"):
        moved["post_processor"] = _post_processor(tokenizer["post_processor"], table)
    if tokenizer.get("padding"):
        padding = tokenizer["padding"]
        moved["padding"] = {**padding, "pad_id": table[padding["pad_id"]]}
    return moved


def encrypt_tokenizer_config(config: Mapping[str, Any], vocabulary: Vocabulary) -> dict[str, Any]:
    """tokenizer_config.json: the ids are the keys of added_tokens_decoder."""
    table, moved = _table(vocabulary), dict(config)
    if isinstance(decoder := config.get("added_tokens_decoder"), Mapping):
        moved["added_tokens_decoder"] = {str(table[int(i)]): token for i, token in decoder.items()}
    return moved


def _table(vocabulary: Vocabulary) -> Table:
    return vocabulary.encrypt_ids(range(vocabulary.size))


def _model(tokenizer: Mapping[str, Any]) -> Mapping[str, Any]:
    model = tokenizer.get("model")
    if not isinstance(model, Mapping):
        raise CheckpointError("tokenizer.json has no model")
    return model


def _moved_model(model: Mapping[str, Any], added: list[Any], table: Table) -> dict[str, Any]:
    # Older files leave the type out; a vocabulary with scores is a list.
    if isinstance(model.get("vocab"), list):
        return _unigram(model, added, table)
    if model.get("type", "BPE") not in _DICTIONARIES:
        raise CheckpointError(f"tokenizers of type {model.get('type')!r} cannot be moved")
    words = {word: table[i] for word, i in model["vocab"].items()}
    # A token that is only added would get the next free id when the file is read; in the vocabulary it keeps its own.
    words |= {token["content"]: table[token["id"]] for token in added}
    return {**model, "vocab": dict(sorted(words.items(), key=lambda item: item[1]))}


def _unigram(model: Mapping[str, Any], added: list[Any], table: Table) -> dict[str, Any]:
    """The id is the place in a list, so places that have no token get one that no text contains."""
    lowest = min(score for _, score in model["vocab"]) - 100.0
    words: list[Any] = [[f"\U0010fffd{i}\U0010fffd", lowest] for i in range(len(table))]
    for i, entry in enumerate(model["vocab"]):
        words[table[i]] = entry
    known = {word for word, _ in model["vocab"]}
    for token in added:
        if token["content"] not in known:
            words[table[token["id"]]] = [token["content"], lowest]
    unknown = model.get("unk_id")
    return {**model, "vocab": words, "unk_id": None if unknown is None else table[unknown]}


def _post_processor(processor: Mapping[str, Any], table: Table) -> dict[str, Any]:
    kind, moved = processor.get("type"), dict(processor)
    if kind == "Sequence":
        moved["processors"] = [_post_processor(part, table) for part in processor["processors"]]
    elif kind == "TemplateProcessing":
        moved["special_tokens"] = {
            name: {**token, "ids": [table[i] for i in token["ids"]]}
            for name, token in processor["special_tokens"].items()
        }
    elif kind in ("BertProcessing", "RobertaProcessing"):
        for name in ("sep", "cls"):
            text, i = processor[name]
            moved[name] = [text, table[i]]
    elif kind != "ByteLevel":
        raise CheckpointError(f"the tokenizer's post-processor {kind!r} cannot be moved")
    return moved
