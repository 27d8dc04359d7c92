"""This family's table of operations."""

from __future__ import annotations

from secure.protocols.beaver.one_hot import checked_one_hot
from secure.protocols.core import primitives
from secure.protocols.core.secret import row, table
from secure.protocols.masked.dealt.programs import DEALT_ROWS

PROGRAMS = table(*DEALT_ROWS, row(primitives.checked_one_hot, checked_one_hot))
