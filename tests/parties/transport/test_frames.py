from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure.parties.transport.failures import rebuild
from secure.parties.transport.frames import CHUNK_BYTES, DataFrame, decode, encode
from secure.parties.transport.wire_pb2 import Failure, Frame, Hello
from secure.protocols.core.errors import InputError, ProtocolError

SIZES = (0, 1, 127, 128, 300, 16384, CHUNK_BYTES)


@pytest.mark.parametrize("size", SIZES)
def test_data_frames_are_plain_protobuf(size: int) -> None:
    chunk = bytes(range(256)) * (size // 256) + bytes(size % 256)
    frame = DataFrame(7, size + 5, chunk)
    data = encode(frame)
    generated = Frame.FromString(data)
    assert (generated.sequence, generated.message_bytes, generated.payload) == (7, size + 5, chunk)
    assert generated.WhichOneof("control") is None
    for again in (decode(data), decode(generated.SerializeToString())):
        assert isinstance(again, DataFrame)
        assert (again.sequence, again.message_bytes, bytes(again.chunk)) == (7, size + 5, chunk)


def test_control_frames_survive() -> None:
    frame = Frame(sequence=3, hello=Hello(role="p0", session="ab"))
    assert decode(encode(frame)) == frame


@given(st.binary(max_size=64) | st.binary(max_size=64).map(lambda tail: encode(DataFrame(1, 2, b"xyz"))[:-1] + tail))
def test_bytes_from_a_stranger_never_raise_anything_else(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        decode(data)


@pytest.mark.parametrize("words", ["it\nERROR p0 all is lost", "x" * 100_000, "\x1b[2Jgone"])
def test_a_peers_words_stand_on_one_line_and_are_cut(words: str) -> None:
    error = rebuild(Failure(code="InputError", message=words, role="p\n1", step=words))
    for text in (str(error), *error.__notes__):
        assert text.isprintable() and len(text) < 5000
    assert isinstance(error, InputError)
