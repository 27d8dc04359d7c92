"""Who asks a server: by a key for all, or a name and a key for each."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from secure.http.callers import ANYBODY, Caller, Everybody, KeysFile, OneKey, callers_with
from secure.http.openai_errors import RequestRefused
from secure.protocols.core.errors import ConfigurationError, ServerBusy

NAMED = '[alice]\nkey = "first"\nrequests_per_day = 2\n\n["bob@clinic"]\nkey = "second"\noperator = true\n'


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys.toml"
    write(path, NAMED)
    return path


def write(path: Path, text: str) -> None:
    """A file that is another one each time, as editors leave it."""
    new = path.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.chmod(0o600)
    new.replace(path)


def test_one_key_is_for_all_and_none_for_everybody() -> None:
    assert callers_with("word").who("Bearer word") == ANYBODY
    assert callers_with(None).who("") == ANYBODY
    assert isinstance(callers_with(None), Everybody) and isinstance(callers_with("word"), OneKey)
    for wrong in ("", "Bearer", "Bearer wor", "Bearer words", "Basic word", "word"):
        with pytest.raises(RequestRefused, match="missing or wrong"):
            OneKey("word").who(wrong)


def test_each_caller_has_a_name_by_its_key(keys: Path) -> None:
    callers = KeysFile(keys)
    assert callers.who("Bearer first") == Caller("alice", False, 2)
    assert callers.who("bearer second") == Caller("bob@clinic", True)
    with pytest.raises(RequestRefused, match="missing or wrong"):
        callers.who("Bearer third")


def test_a_changed_file_counts_at_once_and_a_wrong_one_changes_nothing(
    keys: Path, caplog: pytest.LogCaptureFixture
) -> None:
    callers = KeysFile(keys)
    write(keys, '[carol]\nkey = "third"\n')
    assert callers.who("Bearer third").name == "carol"
    with pytest.raises(RequestRefused):
        callers.who("Bearer first")
    write(keys, "[carol]\nkey = third-secret\n")
    assert callers.who("Bearer third").name == "carol"
    keys.unlink()
    assert callers.who("Bearer third").name == "carol"
    assert "is not used" in caplog.text and "third" not in caplog.text


def test_a_quota_is_of_one_caller_and_one_day(keys: Path) -> None:
    now = [86400.0 * 3 - 7200]
    callers = KeysFile(keys, lambda: now[0])
    for _ in range(2):
        callers.who("Bearer first")
    with pytest.raises(ServerBusy, match=r"alice has made 2 requests today.* in 2\.0 hours") as refused:
        callers.who("Bearer first")
    assert refused.value.retry_after_seconds == 7200
    callers.who("Bearer second")
    now[0] += 7200
    callers.who("Bearer first")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has no callers"),
        ("key = 'x'", "is no table"),
        ("[a]\nkey = 'two words'", "characters that a header cannot carry"),
        ("[a]\n", "is missing"),
        ("[a]\nkey = 'x'\nquota = 3", "has 'quota'"),
        ("[a]\nkey = 'x'\nrequests_per_day = 0", "whole number above 0"),
        ("[a]\nkey = 'x'\noperator = 'yes'", "true or false"),
        ("['a b']\nkey = 'x'", "no name of a caller"),
        ("[anybody]\nkey = 'x'", "no name of a caller"),
        ("[a]\nkey = 'x'\n[b]\nkey = 'x'", "a and b have the same key"),
        ("[a", "cannot be read as TOML"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(keys: Path, text: str, why: str) -> None:
    write(keys, text)
    with pytest.raises(ConfigurationError, match=why):
        KeysFile(keys)


@pytest.mark.skipif(os.name != "posix", reason="there are no modes of files")
def test_a_file_that_others_may_read_is_refused(keys: Path) -> None:
    keys.chmod(0o644)
    with pytest.raises(ConfigurationError, match="other users may read"):
        KeysFile(keys)
