"""Token ids outside the tensors: config.json and generation_config.json.

Every field that holds ids moves with the vocabulary. A field that looks like one and is not known is refused by name,
because ids that stay behind are worse than an error: the model would run, and be wrong. Lists whose order means nothing
are sorted after they moved: in the base's order they would show which encrypted id is which.

What has to stay visible: a server stops at the end-of-text token, so it is told its encrypted id, and likewise those of
the other special tokens. Known plaintext of this kind is in every chat template too.

Fields that name the base, or carry text, leave the server's copies; the client's sealed copy keeps them all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from secure.protocols.core.errors import CheckpointError
from secure.protocols.equivariant.factors.vocabulary import Vocabulary

_ID = re.compile(r"_token_ids?$|_tokens?_ids?$|_words_ids$|(^|_)(token|word)_index$")
_ID_SETS = ("suppress_tokens", "begin_suppress_tokens")
# Lists of id sequences, in no order.
_ID_SEQUENCES = ("bad_words_ids",)
_LABELS = ("id2label", "label2id")
_NOT_IDS = ("return_token_type_ids", "use_token_type_ids")
# Whose base this was, and text that only the client can use.
_DROPPED = (
    "_name_or_path",
    "name_or_path",
    "stop_strings",
    "finetuning_task",
    "tokenizer_class",
    "base_model_name_or_path",
    "prefix",
)


class _Move:
    def __init__(self, vocabulary: Vocabulary, back: bool) -> None:
        self._vocabulary = vocabulary
        self._back = back

    def one(self, value: int, field: str) -> int:
        # Old configurations write −1 for "none".
        if value == -1:
            return value
        if not 0 <= value < self._vocabulary.size:
            raise CheckpointError(
                f"{field} has id {value}, the model knows 0 to {self._vocabulary.size - 1}; "
                "correct the configuration, or remove the field"
            )
        move = self._vocabulary.decrypt_ids if self._back else self._vocabulary.encrypt_ids
        return move([value])[0]

    def any(self, value: Any, field: str) -> Any:
        """Ids in any nesting of lists."""
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return self.one(value, field)
        if isinstance(value, list):
            return [self.any(item, field) for item in value]
        raise CheckpointError(f"{field} should hold token ids, it holds a {type(value).__name__}")


def encrypt_config(config: Mapping[str, Any], vocabulary: Vocabulary | None) -> dict[str, Any]:
    """A configuration of model or generation with all its ids moved, as the server may see it.

    Raises CheckpointError that names the field, for an id outside the vocabulary and for what cannot be moved.
    """
    return _without_base(_moved(config, None if vocabulary is None else _Move(vocabulary, back=False), ""))


def decrypt_config(config: Mapping[str, Any], vocabulary: Vocabulary | None) -> dict[str, Any]:
    """The inverse of `encrypt_config`, but for what that left out."""
    return _moved(config, None if vocabulary is None else _Move(vocabulary, back=True), "")


def without_ids(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration for a server that sees no ids at all. Fields are null: absent ones would take defaults."""
    kept: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and name not in _LABELS:
            kept[name] = without_ids(value)
        else:
            kept[name] = None if _holds_ids(name) else value
    return kept


def with_default_ids(config: Mapping[str, Any], defaults: Mapping[str, Any], size: int) -> dict[str, Any]:
    """config.json with the ids spelled out that it leaves to its class's defaults, which would not move otherwise.

    defaults: the configuration of the same class with no field given. size: of the vocabulary; a default outside it
    belongs to the class's usual model and not to this one, and becomes null.
    """
    implied = {
        name: value if isinstance(value, int) and 0 <= value < size else None
        for name, value in defaults.items()
        if name not in config and value is not None and _holds_ids(name)
    }
    return dict(config) | implied


def _holds_ids(name: str) -> bool:
    if name in (*_ID_SETS, *_ID_SEQUENCES, "forced_decoder_ids", "sequence_bias"):
        return True
    return bool(_ID.search(name)) and name not in _NOT_IDS


def _moved(config: Mapping[str, Any], move: _Move | None, path: str) -> dict[str, Any]:
    moved: dict[str, Any] = {}
    for name, value in config.items():
        field = path + name
        if isinstance(value, Mapping) and name not in _LABELS:
            moved[name] = _moved(value, move, f"{field}.")
        elif move is None or value is None:
            moved[name] = value
        elif name in _ID_SETS:
            # −1 among suppressed tokens means the tokenizer's own list; it stays where sorting puts it.
            moved[name] = sorted(move.any(value, field))
        elif name in _ID_SEQUENCES:
            moved[name] = sorted(move.any(value, field))
        elif name == "forced_decoder_ids":
            moved[name] = [[position, move.one(token, field)] for position, token in value]
        elif name == "sequence_bias":
            moved[name] = _sequence_bias(value, move, field)
        elif name == "eos_token_id" and isinstance(value, list):
            moved[name] = sorted(move.any(value, field))
        elif _holds_ids(name):
            moved[name] = move.any(value, field)
        elif _looks_like_ids(name, value):
            raise CheckpointError(
                f"{field} may hold token ids, and is not a field that can be moved; remove it from the configuration"
            )
        else:
            moved[name] = value
    return moved


def _sequence_bias(value: Any, move: _Move, field: str) -> Any:
    """A list of [ids, bias], as transformers saves it."""
    if not isinstance(value, list):
        raise CheckpointError(f"{field} should be a list of [ids, bias]; save it again with a newer transformers")
    return sorted([move.any(ids, field), bias] for ids, bias in value)


def _looks_like_ids(name: str, value: Any) -> bool:
    """Unknown names that end in _ids or _tokens and hold lists of whole numbers."""
    return name.endswith(("_ids", "_tokens")) and isinstance(value, list) and bool(value) and _whole(value)


def _whole(value: Any) -> bool:
    if isinstance(value, list):
        return all(_whole(item) for item in value)
    return isinstance(value, int) and not isinstance(value, bool)


def _without_base(config: Mapping[str, Any]) -> dict[str, Any]:
    if "auto_map" in config:
        raise CheckpointError("the checkpoint needs code of its own (auto_map); only architectures of transformers do")
    kept = {
        name: _without_base(value) if isinstance(value, Mapping) and name not in _LABELS else value
        for name, value in config.items()
        if name not in _DROPPED
    }
    if isinstance(names := config.get("id2label"), Mapping):
        # What the classes mean is the client's; how many there are shows in the shapes.
        kept["id2label"] = {str(i): f"LABEL_{i}" for i in range(len(names))}
        kept["label2id"] = {f"LABEL_{i}": i for i in range(len(names))}
    return kept
