"""Sealed files: what is read is what was written, or an error says where it is not."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure.parties.stock.sealed import SealedReader, read_sealed, write_sealed
from secure.parties.stock.segments import SEGMENT_BYTES, SegmentReader, SegmentWriter
from secure.protocols.core.errors import DamagedFile

KEY = bytes(range(32))
MESSAGES = [b"one", b"", os.urandom(SEGMENT_BYTES), os.urandom(2 * SEGMENT_BYTES + 1), b"last"]


def test_messages_of_all_sizes_come_back(tmp_path: Path) -> None:
    path = tmp_path / "models" / "one.sealed"
    write_sealed(path, KEY, b"a model", MESSAGES)
    assert [bytes(message) for message in read_sealed(path, KEY, b"a model")] == MESSAGES
    assert path.stat().st_mode & 0o777 == 0o600
    assert b"last" not in path.read_bytes()


@pytest.mark.parametrize(("key", "bound"), [(bytes(32), b"a model"), (KEY, b"another model")])
def test_another_key_or_purpose_reads_nothing(tmp_path: Path, key: bytes, bound: bytes) -> None:
    write_sealed(tmp_path / "x", KEY, b"a model", MESSAGES)
    with pytest.raises(DamagedFile, match="x: it was sealed under another key"):
        next(read_sealed(tmp_path / "x", key, bound))


def test_two_files_of_one_content_differ(tmp_path: Path) -> None:
    for name in "xy":
        write_sealed(tmp_path / name, KEY, b"", [b"the same"])
    assert (tmp_path / "x").read_bytes()[30:] != (tmp_path / "y").read_bytes()[30:]


def test_a_file_that_cannot_be_finished_leaves_the_one_before(tmp_path: Path) -> None:
    write_sealed(tmp_path / "x", KEY, b"", [b"before"])

    def broken() -> list[bytes]:
        raise OSError(28, "no space")

    with pytest.raises(OSError, match="no space"):
        write_sealed(tmp_path / "x", KEY, b"", (part for _ in range(1) for part in broken()))
    assert [bytes(message) for message in read_sealed(tmp_path / "x", KEY, b"")] == [b"before"]
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


SIZES = (0, 5, SEGMENT_BYTES, 3 * SEGMENT_BYTES + 1)


def _large(path: Path) -> list[bytes]:
    messages = [os.urandom(size) for size in SIZES]
    write_sealed(path, KEY, b"a model", messages)
    return messages


def _read_into(path: Path) -> list[bytes]:
    reader, found = SealedReader(path, KEY, b"a model"), []
    for size in SIZES:
        found.append(bytearray(size))
        reader.read_into(memoryview(found[-1]))
    assert reader.read() is None
    return [bytes(message) for message in found]


def test_messages_of_known_sizes_are_read_in_place(tmp_path: Path) -> None:
    messages = _large(tmp_path / "x")
    assert _read_into(tmp_path / "x") == messages


@pytest.mark.parametrize("change", ["flip", "cut", "swap", "length"])
@pytest.mark.parametrize("segment", [2, 4])
def test_what_was_changed_of_them_is_found(change: str, segment: int, tmp_path: Path) -> None:
    """In the first and in a later segment of the large one, which threads read."""
    path = tmp_path / "x"
    _large(path)
    data = bytearray(path.read_bytes())
    whole = SEGMENT_BYTES + 23
    at = len(data) - 23 - 24 - 3 * whole + (segment - 2) * whole // 2
    if change == "flip":
        data[at + 100] ^= 1
    elif change == "cut":
        del data[at + 100 :]
    elif change == "swap":
        data[at : at + whole], data[at - whole : at] = data[at - whole : at], data[at : at + whole]
    else:
        data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedFile, match=r"x: (segment \d (was changed|is of another message)|it ends)"):
        _read_into(path)


def _segments(*messages: bytes) -> bytes:
    file = io.BytesIO()
    writer = SegmentWriter(file, KEY, b"bound")
    for step, message in enumerate(messages):
        writer.write(message, step)
    writer.close()
    assert writer.size_bytes == len(file.getvalue())
    return file.getvalue()


def _read(data: bytes) -> list[bytes]:
    reader, found = SegmentReader(io.BytesIO(data), KEY, b"bound"), []
    while (message := reader.read()) is not None:
        found.append(bytes(message))
    return found


def test_steps_come_back() -> None:
    reader = SegmentReader(io.BytesIO(_segments(b"a", b"b")), KEY, b"bound")
    steps = []
    while reader.read() is not None:
        steps.append(reader.step)
    assert steps == [0, 1]


@given(st.data())
def test_whatever_is_changed_is_found(data: st.DataObject) -> None:
    """A byte changed, a piece cut out, or one put in, anywhere."""
    whole = _segments(b"first", b"", b"third message")
    at = data.draw(st.integers(0, len(whole) - 1))
    change = data.draw(st.sampled_from(("flip", "cut", "insert", "end")))
    end = data.draw(st.integers(at + 1, len(whole)))
    changed = {
        "flip": whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :],
        "cut": whole[:at] + whole[end:],
        "insert": whole[:at] + whole[at:end] + whole[at:],
        "end": whole[:at],
    }[change]
    with pytest.raises(DamagedFile):
        _read(changed)


def test_segments_cannot_be_swapped_or_left_out() -> None:
    one, two = _segments(b"message 1", b"message 2"), 7 + 9 + 16
    first, second, rest = one[:two], one[two : 2 * two], one[2 * two :]
    assert _read(first + second + rest) == [b"message 1", b"message 2"]
    for changed in (second + first + rest, first + rest, first + first + rest, first + second):
        with pytest.raises(DamagedFile):
            _read(changed)


def test_a_reader_allocates_no_more_than_a_segment() -> None:
    with pytest.raises(DamagedFile, match="says that it has 4294967295 bytes"):
        _read(b"\xff\xff\xff\xff" + bytes(100))
