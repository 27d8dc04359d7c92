"""A loaded model as a sequence of messages, and back: what a role prepared of each parameter, as it lies in memory.

    version and form, names of parameters, then each of these in order:
    a message of JSON for each value: {"kind": class} and then its fields, {"items": n} and then those, {"number": x},
    {"slice": [start, stop]}, {"array": true} and then a tensor, {"type": dtype, "shape": [...]} and then its bytes, or
    {"again": n} where it is the nth object of a class that the parameter has, counted as they are complete

A role that reads it computes nothing and opens nothing: the next bytes that it needs are those that it multiplies with.
Everything is as secret as the model's memory. Messages are not checked here: whoever keeps them has sealed them.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from secure.protocols.core import transfer
from secure.protocols.core.channel import Payload
from secure.protocols.core.errors import DamagedFile, ProtocolError
from secure.protocols.core.factor import FORMS, Factor, Prepared, multiplies_bytes
from secure.protocols.families import FAMILIES

_VERSION = 2
_KINDS: dict[str, type] = {
    kind.__name__: kind for kind in (*FORMS, *(kind for family in FAMILIES.values() for kind in family.kept))
}
_TYPES = {str(dtype): dtype for dtype in (torch.int8, torch.int32, torch.int64, torch.float64)}

Place = Callable[[Prepared], Factor]
"""Where a role keeps a block of a matrix: `secure.models.storage.weight_file.WeightFile.place`."""


class Kept(ABC):
    """Messages that were written, in order. Each method raises DamagedFile, or OSError, where they are not there."""

    @abstractmethod
    def message(self) -> memoryview:
        """The next one."""

    @abstractmethod
    def fill(self, buffer: memoryview) -> None:
        """The next one, which has the buffer's length, written there."""


def written(weights: Mapping[str, Any], device: torch.device) -> Iterator[Payload]:
    """What a role has prepared of a model, on its device. Raises ProtocolError for what no family keeps."""
    yield _said([_VERSION, multiplies_bytes(device), list(weights)])
    for prepared in weights.values():
        yield from _parts(prepared, [])


def read(kept: Kept, device: torch.device, place: Place | None) -> dict[str, Any]:
    """Inverse of `written`. place: what is done with blocks of matrices; None keeps them in memory.

    Raises what `kept` raises, and DamagedFile for a model that another version has written, or another processor: it
    would be multiplied in the slower of two forms.
    """
    version, form, names = json.loads(bytes(kept.message()))
    if version != _VERSION:
        raise DamagedFile("another version has written it")
    if form != multiplies_bytes(device):
        raise DamagedFile("it was prepared for a processor that multiplies in another form than this one")
    return {name: _value(kept, device, place, []) for name in names}


def _said(document: Any) -> bytes:
    return json.dumps(document).encode()


def _parts(given: Any, complete: list[Any]) -> Iterator[Payload]:
    """One value's messages. complete: objects of classes that were written whole, which are not written again."""
    if (before := next((number for number, each in enumerate(complete) if each is given), None)) is not None:
        yield _said({"again": before})
        return
    value: Any = given.in_memory() if isinstance(given, Factor) else given
    kind = type(value)
    if isinstance(value, Tensor):
        yield _said({"type": str(value.dtype), "shape": list(value.shape), "known": not value.is_meta})
        if not value.is_meta:
            yield transfer.payload_of([value.contiguous().view(-1).view(torch.uint8)])
    elif isinstance(value, np.ndarray):
        yield _said({"array": True})
        yield from _parts(torch.from_numpy(value), complete)
    elif _KINDS.get(kind.__name__) is kind:
        yield _said({"kind": kind.__name__})
        for each in fields(value):
            yield from _parts(vars(value)[each.name], complete)
        complete.append(given)
    elif isinstance(value, tuple):
        yield _said({"items": len(value)})
        for item in value:
            yield from _parts(item, complete)
    elif kind is slice:
        yield _said({"slice": [value.start, value.stop]})
    elif kind in (int, bool, type(None)):
        yield _said({"number": value})
    else:
        raise ProtocolError(f"a model has a {kind.__name__}, which is not kept over a restart")


def _value(kept: Kept, device: torch.device, place: Place | None, complete: list[Any]) -> Any:
    """The next value. complete: objects of classes that were read whole."""
    said = json.loads(bytes(kept.message()))
    if "type" in said:
        return _tensor(kept, _TYPES[said["type"]], tuple(said["shape"]), device if said["known"] else None)
    if "items" in said:
        return tuple(_value(kept, device, place, complete) for _ in range(said["items"]))
    if "again" in said:
        return complete[said["again"]]
    if "array" in said:
        return _value(kept, transfer.CPU, place, complete).numpy()
    if "slice" in said:
        return slice(*said["slice"])
    if "number" in said:
        return said["number"]
    kind = _KINDS[said["kind"]]
    made = kind(**{each.name: _value(kept, device, place, complete) for each in fields(kind)})
    complete.append(place(made) if place is not None and isinstance(made, Prepared) else made)
    return complete[-1]


def _tensor(kept: Kept, dtype: torch.dtype, shape: tuple[int, ...], device: torch.device | None) -> Tensor:
    """A tensor of the next message; without a message where it has a shape alone."""
    if device is None:
        return torch.empty(shape, dtype=dtype, device="meta")
    tensor = torch.empty(shape, dtype=dtype)
    kept.fill(tensor.view(-1).view(torch.uint8).numpy().data)
    return tensor.to(device)
