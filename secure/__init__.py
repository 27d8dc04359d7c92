"""Private transformer inference: the machines that compute learn neither the input nor the weights.

import secure

with secure.launch() as parties:                     # or secure.connect("parties.toml")
    model = secure.PrivateModel.from_pretrained(path, parties=parties)
    embeddings = model.encode(["first sentence", "second"])
    print(model.report)
"""

from __future__ import annotations

from secure import siblings

# Before anything of ours is imported by its plain name.
siblings.check()

from protocols.core import errors  # noqa: E402
from protocols.core.fixedpoint import FixedPointPolicy  # noqa: E402
from secure.api import PrivateModel  # noqa: E402
from secure.connection import connect, launch  # noqa: E402
from secure.ee.model import EncryptedModel  # noqa: E402
from secure.module import PrivateModule  # noqa: E402
from secure.report import Report  # noqa: E402

__version__ = "0.1.0"
__all__ = [
    "EncryptedModel",
    "FixedPointPolicy",
    "PrivateModel",
    "PrivateModule",
    "Report",
    "__version__",
    "connect",
    "errors",
    "launch",
]
