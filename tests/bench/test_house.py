"""The counts of the project's structure that have a limit."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import house

COUNTS = house.counts()


@pytest.mark.parametrize("count", [count for count in COUNTS if count.most is not None], ids=lambda count: count.what)
def test_no_count_is_above_its_limit(count: house.Count) -> None:
    assert count.most is not None
    assert count.value <= count.most, count.where


def test_counts_are_of_the_source(tmp_path: Path) -> None:
    """A small project that breaks every limit, so that no count is one that cannot be exceeded."""
    (tmp_path / "README.md").write_text("x" * 9000)
    for folder in house.FOLDERS:
        (tmp_path / folder).mkdir()
    for family, other in zip(house.FAMILIES, house.FAMILIES[::-1], strict=True):
        room = tmp_path / "protocols" / family
        room.mkdir()
        verbs = "".join(f"    def verb_{i}(self): ...\n" for i in range(21))
        (room / "protocol.py").write_text(
            f'"""Of nobody."""\nfrom secure.protocols.{other} import protocol\nclass Large:\n{verbs}'
        )
    for i in range(20):
        classes = "".join(f"class Double{k}: ...\n" for k in range(9))
        (tmp_path / "models" / f"file{i}.py").write_text(classes + "x = 1\n" * 350)
    (tmp_path / "parties" / "one").mkdir()
    (tmp_path / "parties" / "two").mkdir()
    (tmp_path / "parties" / "one" / "a.py").write_text("from secure.parties.two import b\n")
    (tmp_path / "parties" / "two" / "b.py").write_text("from secure.parties.one import a\n")
    broken = {count.what: count for count in house.counts(tmp_path)}
    assert set(broken) == {count.what for count in COUNTS}
    assert [what for what, count in broken.items() if count.most is not None and count.value <= count.most] == []
