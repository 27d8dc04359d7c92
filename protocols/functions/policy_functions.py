"""The functions that models are made of: ours, or PUMA's where the number format says so.

A model calls what is here and never one of the two by name. What has no row is the same in both: the paper gives no
formula of its own for it (tanh, RMSNorm, the L2 norm, layer norm over the whole range), or it is exact (relu,
comparisons, argmax).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from secure.protocols.core.secret import Secret
from secure.protocols.functions import gelu as our_gelu
from secure.protocols.functions import layernorm, puma
from secure.protocols.functions import silu as our_silu
from secure.protocols.functions import softmax as our_softmax

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Function = Callable[Concatenate[Secret, Parameters], Result]


def _chosen(ours: Function[Parameters, Result], pumas: Function[Parameters, Result]) -> Function[Parameters, Result]:
    """Two ways to compute a function as one, which takes the way that the policy of its first argument names."""

    def function(x: Secret, /, *arguments: Parameters.args, **options: Parameters.kwargs) -> Result:
        chosen = pumas if x.protocol.policy.functions == "puma" else ours
        return chosen(x, *arguments, **options)

    return function


gelu = _chosen(our_gelu.gelu, puma.gelu)
gelu_tanh = _chosen(our_gelu.gelu_tanh, puma.gelu)  # PUMA's has one formula for both
silu = _chosen(our_silu.silu, puma.silu)
exponentials = _chosen(our_softmax.exponentials, puma.exponentials)
softmax = _chosen(our_softmax.softmax, puma.softmax)
layer_norm = _chosen(layernorm.layer_norm, puma.layer_norm)
