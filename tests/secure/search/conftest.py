"""A teacher that the tests of a search share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.secure.search.digits import save_teacher


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained for about a second."""
    return save_teacher(tmp_path_factory.mktemp("teacher"), steps=150)
