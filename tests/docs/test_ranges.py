"""docs/ranges.md: the figures are those of the code, and no function is left out."""

from __future__ import annotations

import re

import pytest

from secure.models.graph.arithmetic import FUNCTIONS
from secure.models.graph.operation import MOST_SUMMED
from secure.models.layers.attention import MOST_VALUE
from secure.protocols.functions import elu, gelu, layernorm, silu, softmax, tanh
from secure.protocols.functions.modules import division, exponential, unit_rows
from secure.protocols.functions.reciprocal_and_root import inverse_root_function
from tests.docs.pages import read

PAGE = read("docs/ranges.md")
SQUARES, VARIANCES = layernorm.SQUARE_POWERS, layernorm.VARIANCE_POWERS
FIGURES = {
    "| GeLU": rf"up to {gelu.GELU.domain[1]:.0f} \| {gelu.GELU.max_error:.0e}",
    "| SiLU": f"{silu.SILU.max_error:.0e}",
    "| ELU": f"{elu.ELU.max_error:.0e}",
    "| tanh": f"{tanh.TANH.max_error:.0e}",
    "| softmax": rf"at most {-softmax.MASKED - 16:.0f} apart",
    "| `exp`": rf"up to {exponential.LARGEST_EXPONENT:.0f} ",
    "| `x / y`": rf"2\^{division.LOWEST_POWER} to 2\^13",
    "| `normalize`": rf"norm 2\^{unit_rows.LOWEST_SQUARE // 2} or more",
    "| `rsqrt`": "2\\^-8 to 2\\^13",
    "| `LayerNorm`": rf"up to {MOST_SUMMED} numbers, .*2\^{layernorm.FULL_POWERS[0]} or more",
    "| norms of language models": rf"2\^{SQUARES[0]} to 2\^{SQUARES[1]},",
    "| norms of encoders": rf"2\^{VARIANCES[0]} to 2\^{VARIANCES[1]} ",
    "| values of attention": rf"below {MOST_VALUE:.0f}, ",
}


@pytest.mark.parametrize("start", FIGURES)
def test_figures_are_those_of_the_code(start: str) -> None:
    (line,) = [line for line in PAGE.splitlines() if line.startswith(start)]
    assert re.search(FIGURES[start].replace("e-0", "e-"), line), line


def test_every_function_is_there() -> None:
    missing = [name for name in FUNCTIONS if name.removesuffix("_tanh") not in PAGE.lower()]
    assert not missing


def test_the_default_root_has_the_range_that_is_written() -> None:
    assert inverse_root_function(1, -8, 13, input_bits=16).thresholds[0] == 2.0**-8
