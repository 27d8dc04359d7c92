"""A ledger that another version has written: refused at the start, in words that say what to do."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from secure.parties.stock.ledger import FILE_NAME, Ledger
from secure.protocols.core.errors import ConfigurationError

ADVICE = rf"stop the party and remove {FILE_NAME}\* and \*\.tape there: the deals in stock are lost, models stay"


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ("alter table deals drop column spent_day", "deals.spent_day"),
        ("alter table deals add column novelty integer", "deals.novelty"),
        ("drop table runs", "runs.highest, runs.run"),
    ],
)
def test_other_columns_are_named(change: str, differs: str, tmp_path: Path) -> None:
    Ledger(tmp_path).close()
    Ledger(tmp_path).close()  # its own is taken up
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db:
        db.execute(change)
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(ConfigurationError, match=rf"another version: it differs in {differs}; {ADVICE}"):
        Ledger(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == before


def test_a_file_that_is_no_ledger_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"something else altogether" * 100)
    with pytest.raises(ConfigurationError, match=rf"is no ledger of a stock \(file is not a database\); {ADVICE}"):
        Ledger(tmp_path)
