"""What every role knows of a model: its architecture, shapes and number format, and hashes of the share files."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from secure.models.contract.json_text import read_json
from secure.protocols.core.errors import CheckpointError
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.secret import Parameter
from secure.protocols.families import DEFAULT, FAMILIES, family

WeightVisibility = Literal["private", "public", "server"]
"""Who sees the weights: nobody (P0 and P1 hold shares), both parties, or P1 alone, who is the model's owner."""
VISIBILITIES: tuple[WeightVisibility, ...] = get_args(WeightVisibility)
Kind = Literal["factor", "gain", "offset", "table"]

TABLE_BITS = 24
"""Ring of one-hot vectors and of what they choose: with 16 fraction bits, sums of two rows below 64."""
TABLE_VALUE_BITS = 5  # |entry| < 32, as a word's row and a token type's are added
FORMAT = 3
"""Raised whenever tensors of the same names come to mean something else: 3 since BERT's matrices absorb its norms."""
GRAPH = "graph"
"""The architecture of a captured module, which no checkpoint folder has: `config` describes its graph."""


@dataclass(frozen=True)
class ParameterSpec:
    """One tensor of the model. Kinds: factor and gain are multiplied, offset is added, table is looked up."""

    shape: tuple[int, ...]
    kind: Kind
    fraction_bits: int

    @property
    def bits(self) -> int:
        """Ring of its shares."""
        return TABLE_BITS if self.kind == "table" else 64

    @property
    def opened(self) -> bool:
        """Whether it is opened under a mask when the model is loaded."""
        return self.kind != "offset"

    @property
    def parameter(self) -> Parameter:
        """What a protocol needs to know of it."""
        return Parameter(self.shape, self.fraction_bits, self.bits, self.opened)

    def bound_bits(self, policy: FixedPointPolicy) -> int:
        """Its numbers are of magnitude less than 2^that."""
        return TABLE_VALUE_BITS if self.kind == "table" else policy.value_bits

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Manifest:
    """Public description of one split checkpoint. `digest` identifies it in every handshake.

    protocol: the family of `secure.protocols.families` that the share files are for. refused_ids: tokens that no client
    may use, as their embeddings are too small for secure arithmetic. checks_one_hot: whether parties make sure that
    what a client shares to choose rows of a private table is one-hot. output_bits: fraction bits that real outputs
    leave with, where the owner wants them coarser than the policy's: truncated, so off by less than one of their units.
    """

    architecture: str
    config: dict[str, Any]
    policy: FixedPointPolicy
    weights: WeightVisibility
    parameters: dict[str, ParameterSpec]
    share_digests: dict[str, str] = field(default_factory=dict)
    protocol: str = DEFAULT.name
    refused_ids: tuple[int, ...] = ()
    checks_one_hot: bool = True
    output_bits: int | None = None

    def held_by(self, role: str) -> dict[str, ParameterSpec]:
        """The parameters in the share file of p0 or p1: all, but none at p0 where p1 alone holds the weights."""
        return {} if self.weights == "server" and role == "p0" else self.parameters

    @property
    def parts(self) -> tuple[int, ...]:
        """Axes that a tensor has in a share file before its own: shares of one role that lie side by side."""
        return family(self.protocol).parts if self.weights == "private" else ()

    def to_json(self) -> str:
        """Canonical text: equal manifests give equal bytes."""
        value = {
            "format": FORMAT,
            "architecture": self.architecture,
            "config": self.config,
            "policy": self.policy.to_dict(),
            "weights": self.weights,
            "protocol": self.protocol,
            "checks_one_hot": self.checks_one_hot,
            "parameters": {
                name: {"shape": list(spec.shape), "kind": spec.kind, "fraction_bits": spec.fraction_bits}
                for name, spec in self.parameters.items()
            },
            "share_digests": self.share_digests,
            "refused_ids": list(self.refused_ids),
            **({} if self.output_bits is None else {"output_bits": self.output_bits}),
        }
        return json.dumps(value, sort_keys=True, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Inverse of `to_json`. Raises CheckpointError when the text is no manifest of this format."""
        try:
            value = read_json(text)
            if value["format"] != FORMAT:
                raise CheckpointError(
                    f"manifest has format {value['format']}, this version reads {FORMAT}; split the checkpoint again"
                )
            if value["weights"] not in VISIBILITIES:
                raise CheckpointError(f"manifest has weights {value['weights']!r}; known: {', '.join(VISIBILITIES)}")
            protocol = value.get("protocol", DEFAULT.name)
            if protocol not in FAMILIES:
                raise CheckpointError(f"manifest has protocol {protocol!r}; known: {', '.join(FAMILIES)}")
            if value["weights"] not in FAMILIES[protocol].weights:
                raise CheckpointError(f"manifest has weights {value['weights']!r} with the protocol {protocol!r}")
            checks_one_hot = value.get("checks_one_hot", True)
            if not isinstance(checks_one_hot, bool):
                raise CheckpointError(f"manifest has checks_one_hot {checks_one_hot!r}; it is true or false")
            parameters = {
                name: ParameterSpec(tuple(spec["shape"]), spec["kind"], spec["fraction_bits"])
                for name, spec in value["parameters"].items()
            }
            policy, output_bits = FixedPointPolicy.from_dict(value["policy"]), value.get("output_bits")
            if output_bits is not None:
                check_output_bits(output_bits, policy)
            return cls(
                value["architecture"],
                value["config"],
                policy,
                value["weights"],
                parameters,
                value["share_digests"],
                protocol,
                _ids(value.get("refused_ids", [])),
                checks_one_hot,
                output_bits,
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"not a manifest: {type(error).__name__} at {error}") from None

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical text."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def check_output_bits(count: int, policy: FixedPointPolicy) -> None:
    """Raises CheckpointError for a number of fraction bits that outputs cannot leave with."""
    if type(count) is not int or not 1 <= count <= policy.fraction_bits:
        raise CheckpointError(f"outputs have 1 to {policy.fraction_bits} fraction bits, the policy's; not {count!r}")


def _ids(value: object) -> tuple[int, ...]:
    """Raises CheckpointError unless these are the numbers of tokens."""
    if not isinstance(value, list) or not all(type(item) is int and item >= 0 for item in value):
        raise CheckpointError("manifest has refused_ids that are no list of tokens")
    return tuple(value)
