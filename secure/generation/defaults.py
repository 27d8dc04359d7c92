"""What a checkpoint's folder says about generation: generation_config.json, else config.json, as in transformers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from secure.models.checkpoint.folder import read_json
from secure.protocols.core.errors import CheckpointError, InputError

GENERATION_NAME = "generation_config.json"
_FILES = (GENERATION_NAME, "config.json")

NOT_SERVED: Mapping[str, Any] = {
    "num_beams": 1,
    "num_beam_groups": 1,
    "diversity_penalty": 0.0,
    "penalty_alpha": 0.0,
    "guidance_scale": 1,
    "sequence_bias": None,
    "bad_words_ids": None,
    "min_length": 0,
    "max_time": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "exponential_decay_length_penalty": None,
    "token_healing": False,
    "watermarking_config": None,
    "dola_layers": None,
    "constraints": None,
    "force_words_ids": None,
}
"""Fields that change which tokens transformers gives, and the value besides null at which they do not."""
NOT_SERVED_OF_SAMPLING: Mapping[str, Any] = {
    "top_h": None,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
}
"""Those that do so only where tokens are drawn."""


@dataclass(frozen=True)
class GenerationConfig:
    """values: the fields of `file` that are not null. The ids of eos and padding may come from config.json."""

    values: Mapping[str, Any] = field(default_factory=dict)
    file: str = GENERATION_NAME

    def check_served(self, *, do_sample: bool) -> None:
        """Raises InputError naming the first field that would change the result and is not served."""
        for name, neutral in {**NOT_SERVED, **(NOT_SERVED_OF_SAMPLING if do_sample else {})}.items():
            value = self.values.get(name)
            if value not in (None, neutral):
                raise InputError(
                    f"{self.file}: {name} is {value!r}, which is not served and changes what transformers generates; "
                    "take it out of the file to generate without it"
                )


def read_generation_config(folder: Path) -> GenerationConfig:
    """What the files in a checkpoint's folder say. Raises CheckpointError as `generation_config` does."""
    return generation_config({name: read_json(folder / name) for name in _FILES if (folder / name).is_file()})


def generation_config(documents: Mapping[str, Mapping[str, Any]]) -> GenerationConfig:
    """The first file that is there counts, as in transformers; where it lacks eos or padding, config.json is asked.

    documents: by file name.

    Raises CheckpointError when one of these two is no token id and, of eos, no list of them.
    """
    read = [(name, documents[name]) for name in _FILES if name in documents]
    values = {name: value for _, fields in read[:1] for name, value in fields.items() if value is not None}
    for file, fields in reversed(read):
        for name in ("eos_token_id", "pad_token_id"):
            value = fields.get(name)
            ids = value if isinstance(value, list) and name == "eos_token_id" else [value]
            if value is not None and any(type(number) is not int for number in ids):
                several = " or a list of them" if name == "eos_token_id" else ""
                raise CheckpointError(f"{file}: {name} is {value!r}; it must be a token id{several}")
            if value is not None:
                values[name] = value
    return GenerationConfig(values, read[0][0] if read else GENERATION_NAME)
