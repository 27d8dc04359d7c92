"""The fixtures of a served checkpoint, as the tests of secure.ee have them."""

from tests.secure.ee.conftest import no_red_team_yet  # noqa: F401 (fixtures)
from tests.secure.ee.serving import (  # noqa: F401 (fixtures)
    certificates,
    connect,
    engine,
    start,
    tiny,
    tiny_engine,
)
