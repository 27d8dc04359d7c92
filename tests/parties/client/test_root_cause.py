from __future__ import annotations

import pytest

from secure.parties.client.root_cause import awaited, root_cause
from secure.parties.process.exit_codes import HELP, ExitCode, exit_code
from secure.parties.transport.failures import failure_frame, rebuild
from secure.protocols.core import errors
from secure.protocols.core.errors import (
    InputError,
    PartyAbsent,
    PartyLost,
    PartyUnreachable,
    PortInUse,
    SecureInferenceError,
)


def lost(role: str) -> PartyLost:
    return PartyLost(role, "layer 3")


@pytest.mark.parametrize(
    ("broken", "reported", "role"),
    [
        (["p0"], {"p1": "p0", "dealer": "p1"}, "p0"),
        ([], {"p1": "p0"}, "p0"),
        ([], {"dealer": "p1", "p1": "p0"}, "p0"),
        ([], {"p0": "p1", "p1": "dealer"}, "dealer"),
        # Two that blame each other: the link between them broke; the answer to the first report stands.
        ([], {"p0": "p1", "p1": "p0"}, "p0"),
    ],
)
def test_the_lost_role_at_the_root_is_named(broken: list[str], reported: dict[str, str], role: str) -> None:
    error = root_cause({name: lost(name) for name in broken}, {name: lost(of) for name, of in reported.items()})
    assert isinstance(error, PartyLost)
    assert error.role == role


@pytest.mark.parametrize("first", ["p0", "p1", "p2"])
def test_whoever_tried_to_connect_knows_more_than_whoever_waited(first: str) -> None:
    reported = {
        "p0": PartyUnreachable("p1", "host:1", 5.0, "p0", "connection refused"),
        "p1": PartyAbsent("p0", "p1", 7.0),
        "p2": PartyAbsent("p1", "p2", 7.0),
    }
    error = root_cause({}, {first: reported[first]} | reported)
    assert type(error) is PartyUnreachable
    assert error.role == "p1"
    assert str(error) == f"{reported['p0']}; meanwhile {reported['p1']}"
    assert str(reported["p0"]).startswith("p0 cannot reach p1: p1 at host:1 did not answer within 5.0 s (connection re")
    assert str(root_cause({"p1": lost("p1")}, reported)) == str(lost("p1")), "it is not there at all"


def test_an_error_of_its_own_beats_a_lost_peer() -> None:
    error = InputError("too long")
    assert root_cause({}, {"p1": lost("p0"), "p0": error}) is error


@pytest.mark.parametrize(
    ("broken", "reported", "running", "due"),
    [
        ([], {"p0": "p1"}, "p0 p1 dealer", {"p1"}),  # whoever is lost says why, or its stream breaks
        ([], {"p0": "dealer", "dealer": "p1"}, "p0 p1 dealer", {"p1"}),
        (["p1"], {"p0": "dealer"}, "p0 p1 dealer", set()),
        ([], {"p0": "p1", "p1": "p0"}, "p0 p1 dealer", set()),
        ([], {"p0": "p1"}, "p0 dealer", set()),  # p1 has ended in good order
        # The client is there, so whoever told p0 that it is not has lost it by going away.
        ([], {"p0": "client"}, "p0 p1 dealer", {"p1", "dealer"}),
        ([], {"p0": "client", "p1": "client", "dealer": "client"}, "p0 p1 dealer", set()),
    ],
)
def test_the_word_of_a_role_that_is_blamed_is_awaited(
    broken: list[str], reported: dict[str, str], running: str, due: set[str]
) -> None:
    errors = {name: lost(name) for name in broken}, {name: lost(of) for name, of in reported.items()}
    assert awaited(*errors, running.split(), "client") == due


def test_nobody_is_awaited_after_an_error_of_its_own() -> None:
    assert awaited({}, {"p1": lost("p0"), "p0": InputError("too long")}, ["p0", "p1", "dealer"], "client") == set()


def tree(kind: type[SecureInferenceError]) -> list[type[SecureInferenceError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in tree(child))]


EXAMPLES: list[SecureInferenceError] = [
    errors.HandshakeError("model digest", "aa", "bb", "p1 with p0"),
    PartyUnreachable("p1", "host:1", 5.0),
    PartyAbsent("p0", "p1", 7.0),
    PartyLost("dealer", "layer 2", "gone"),
    *(
        kind("what happened")
        for kind in tree(SecureInferenceError)
        if kind.__module__ == errors.__name__ and not issubclass(kind, errors.SessionError)
    ),
    errors.SessionError("ended"),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_every_error_of_the_tree_crosses_the_wire(error: SecureInferenceError) -> None:
    again = rebuild(failure_frame(error, "p1", "layer 2").failure)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again).keys() >= vars(error).keys()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("12 GB would go to /var/tmp/x-1, where 3 GB", "12 GB would go to a path of p1's host, where 3 GB"),
        ("/srv/a b: cannot be read", "a path of p1's host b: cannot be read"),
        ("'/a.toml' (/proc/self/fd/7).", "'a path of p1's host' (a path of p1's host)."),
        ("D:\\models\\m and C:/x.", "a path of p1's host and a path of p1's host."),
        ("p1's [models] dir/p1.share, and/or 1/2 of https://host/page / docs/errors.md#a; [::1]:80 p0.b:80", None),
    ],
)
def test_no_absolute_path_crosses_the_wire(said: str, told: str | None) -> None:
    assert str(rebuild(failure_frame(errors.CheckpointError(said), "p1", "layer 2").failure)) == (told or said)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_every_error_has_an_exit_code_with_a_sentence(error: SecureInferenceError) -> None:
    code = exit_code(error)
    assert code is not ExitCode.OK and HELP[code].endswith(".")


def test_special_exit_codes() -> None:
    assert exit_code(PortInUse("7100")) is ExitCode.PORT_IN_USE
    assert exit_code(KeyboardInterrupt()) is ExitCode.INTERRUPTED
    assert exit_code(ValueError()) is ExitCode.DEFECT
    assert set(HELP) == set(ExitCode)
