"""Each exit code has a section in the page of errors, and each section a code."""

from __future__ import annotations

import re

from secure.parties.process.exit_codes import HELP, PAGE, ExitCode, exit_code, explained, section
from secure.protocols.core import errors
from tests.checkout import ROOT


def sections() -> dict[str, str]:
    """Title -> text of the page's sections."""
    _, *parts = re.split(r"^## (.+)\n", (ROOT / PAGE).read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_the_page_has_a_section_for_each_code_which_begins_with_its_sentence() -> None:
    assert list(sections()) == [section(code) for code in ExitCode]
    for code in ExitCode:
        first, *causes = sections()[section(code)].strip().split("\n\n")
        assert first == HELP[code]
        assert code is ExitCode.OK or causes[0].startswith("- ")


def test_what_a_process_says_at_its_end_leads_to_the_section() -> None:
    assert explained(ExitCode.PORT_IN_USE).endswith(" More: docs/errors.md#11-port-in-use")
    for code in ExitCode:
        # As web pages of Markdown make anchors from titles.
        assert explained(code).endswith(f"#{section(code).lower().replace(' ', '-')}")


def test_the_nearest_class_decides() -> None:
    assert exit_code(errors.ServerUnreachable("host:1", 2.0, "")) is ExitCode.UNREACHABLE
    assert exit_code(errors.UnsupportedOperator("x")) is ExitCode.CHECKPOINT
    assert exit_code(errors.ServerBusy("x")) is ExitCode.BUSY
    assert exit_code(errors.ProtocolError("x")) is ExitCode.DEFECT
    assert exit_code(errors.SecureInferenceError("x")) is ExitCode.DEFECT
