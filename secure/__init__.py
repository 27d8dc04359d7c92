"""Private transformer inference: the machines that compute learn neither the input nor the weights.

import secure

with secure.launch() as parties:                     # or secure.connect("parties.toml")
    model = secure.PrivateModel.from_pretrained(path, parties=parties)
    embeddings = model.encode(["first sentence", "second"])
    print(model.report)

One package is installed, with the parts `secure.parties`, `secure.models` and `secure.protocols`. A name is imported
when it is first asked for, so that a party, or `secure.protocols.core.ring` alone, does not wait for transformers.
"""

from __future__ import annotations

import importlib
import pathlib
import typing

if typing.TYPE_CHECKING:
    from secure.api import PrivateModel
    from secure.checking import check
    from secure.clear_model import reference
    from secure.connection import connect, launch
    from secure.costs import cost
    from secure.ee.client.model import EncryptedModel
    from secure.module import PrivateModule
    from secure.protocols.core import errors
    from secure.protocols.core.fixedpoint import FixedPointPolicy
    from secure.report.receipt import Receipt
    from secure.report.report import Report
    from secure.verifier import attacks
    from secure.verifier.endpoint import ClassifyEndpoint
    from secure.verifier.verifier import Verifier

__all__ = [
    "ClassifyEndpoint",
    "EncryptedModel",
    "FixedPointPolicy",
    "PrivateModel",
    "PrivateModule",
    "Receipt",
    "Report",
    "Verifier",
    "__version__",
    "attacks",
    "check",
    "connect",
    "cost",
    "errors",
    "launch",
    "reference",
]

_HOMES = {
    "ClassifyEndpoint": "secure.verifier.endpoint",
    "EncryptedModel": "secure.ee.client.model",
    "FixedPointPolicy": "secure.protocols.core.fixedpoint",
    "PrivateModel": "secure.api",
    "PrivateModule": "secure.module",
    "Receipt": "secure.report.receipt",
    "Report": "secure.report.report",
    "Verifier": "secure.verifier.verifier",
    "attacks": "secure.verifier.attacks",
    "check": "secure.checking",
    "connect": "secure.connection",
    "cost": "secure.costs",
    "errors": "secure.protocols.core.errors",
    "launch": "secure.connection",
    "reference": "secure.clear_model",
}
"""The module that each lazily imported name comes from."""

# A wheel has the other three folders inside this one. In a checkout they lie beside it.
_HERE = pathlib.Path(__file__).resolve().parent
if not (_HERE / "protocols").is_dir():
    __path__.append(str(_HERE.parent))

from secure.protocols import version  # noqa: E402  (found on the path above)

__version__ = version.VERSION
del version


def __getattr__(name: str) -> typing.Any:
    """The value of an exported name, imported now and kept. Raises AttributeError for other names."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_HOMES[name])
    value = module if name in ("attacks", "errors") else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The exported names, those that are not imported yet included."""
    return sorted({*globals(), *__all__})
