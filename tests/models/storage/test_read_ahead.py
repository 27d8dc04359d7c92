"""What is read ahead, in which order, and what happens when the order changes or the disk fails."""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from secure.models.storage.read_ahead import ReadAhead
from tests.parties.local import eventually


class Disk:
    """Writes a block's number into the buffer, and notes which were asked for. `gate` holds reading up."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.broken: set[int] = set()

    def read(self, number: int, buffer: mmap.mmap) -> None:
        self.asked.append(number)
        assert self.gate.wait(60)
        if number in self.broken:
            raise OSError("broken")
        buffer[0] = number


@pytest.fixture
def disk() -> Iterator[Disk]:
    made = Disk()
    yield made
    made.gate.set()


def use(ahead: ReadAhead, numbers: list[int]) -> None:
    for number in numbers:
        with ahead.block(number) as buffer:
            assert buffer[0] == number


def in_thread(work: Callable[[], None]) -> None:
    """A session of its own."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result(60)


def test_the_first_pass_reads_each_block_when_it_is_used(disk: Disk) -> None:
    use(ReadAhead(disk.read, 1, 3), list(range(8)))
    assert disk.asked == list(range(8))


def test_later_passes_read_ahead_in_the_order_of_the_last(disk: Disk) -> None:
    ahead, order = ReadAhead(disk.read, 1, 3), [4, 0, 3, 1, 2, 5]
    use(ahead, [*order, 4])
    for _ in range(3):
        for i, number in enumerate([*order[1:], 4]):
            following = [*order[1:], *order, 0, 3][i + 1 : i + 3]
            with ahead.block(number):
                eventually(lambda: all(other in ahead._coming for other in following))  # noqa: B023
    used = [*order, 4, *3 * order]
    eventually(lambda: len(disk.asked) == len(used) + 3)  # as many as there are buffers
    assert sorted(disk.asked) == sorted([*used, 0, 3, 1]), "no block was read in vain"


def test_sessions_learn_from_each_other(disk: Disk) -> None:
    ahead = ReadAhead(disk.read, 1, 4)
    in_thread(lambda: use(ahead, [0, 1, 2, 3]))
    disk.asked.clear()

    def session() -> None:
        with ahead.block(0):
            eventually(lambda: set(disk.asked) == {0, 1, 2, 3})
        use(ahead, [1, 2, 3])

    in_thread(session)
    assert sorted(disk.asked) == [0, 1, 2, 3], "each block was read once"
    assert 0 not in ahead._after.values(), "that a session begins at 0 does not make 0 the successor of 3"


def test_another_order_is_served_at_once_and_learnt(disk: Disk) -> None:
    ahead = ReadAhead(disk.read, 1, 3)
    use(ahead, [0, 1, 2, 3, 0])
    use(ahead, [3, 2, 1, 0, 3, 2, 1, 0])
    assert ahead._after[0] == 3 and ahead._after[3] == 2
    use(ahead, [7, 3])
    assert ahead._after[7] == 3


def test_what_was_not_begun_makes_way(disk: Disk) -> None:
    ahead = ReadAhead(disk.read, 1, 6)
    use(ahead, [0, 1, 2, 3, 4, 5])
    disk.asked.clear()
    disk.gate.clear()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(use, ahead, [0])
        eventually(lambda: len(disk.asked) == 2 and len(ahead._coming) == 5)  # two readers, at 0 and 1; 2 to 5 wait
        second = pool.submit(use, ahead, [9])
        eventually(lambda: len(ahead._coming) == 1)
        disk.gate.set()
        first.result(60)
        second.result(60)
    assert disk.asked[2] == 9


def test_a_failed_read_is_raised_where_the_block_is_used_and_its_buffer_is_free_again(disk: Disk) -> None:
    ahead = ReadAhead(disk.read, 1, 2)
    use(ahead, [0, 1, 2])
    disk.broken = {1}
    for _ in range(5):
        use(ahead, [0])
        with pytest.raises(OSError, match="broken"), ahead.block(1):
            pass
    disk.broken = set()
    use(ahead, [0, 1, 2])


def test_more_sessions_than_buffers(disk: Disk) -> None:
    ahead, order = ReadAhead(disk.read, 1, 2), list(range(20))
    with ThreadPoolExecutor(6) as pool:
        sessions = [pool.submit(use, ahead, order[i:] + order[:i]) for i in range(6)]
        for session in sessions:
            session.result(60)
