"""A stream that a peer has not accepted yet goes with its session, and one that nobody claims with its peer."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from secure.parties.session.session import Registry, Session
from secure.parties.transport.link import Link
from secure.protocols.core.errors import SessionError


def test_a_session_that_ends_waits_no_longer_for_an_answer() -> None:
    """The client has gone, and the peer that is dialled never heard of it."""
    session = Session("p0", Mock(session="00"), Mock(spec=Link), Mock(), Mock())
    awaited, late = Mock(spec=Link, peer="p1"), Mock(spec=Link, peer="p1")
    session.dialled(awaited)
    awaited.cancel.assert_not_called()
    session.fail(SessionError("the client went away"))
    awaited.cancel.assert_called_once()
    with pytest.raises(SessionError, match="went away"):
        session.dialled(late)
    late.cancel.assert_called_once()


def test_a_link_that_was_accepted_hears_the_reason_first() -> None:
    session, link = Session("p0", Mock(session="00"), Mock(spec=Link), Mock(), Mock()), Mock(spec=Link, peer="p1")
    session.dialled(link)
    session.attach(link)
    session.fail(SessionError("the client went away"))
    link.post.assert_called_once()
    link.cancel.assert_not_called()


def test_a_stream_that_is_over_before_it_is_held_is_not_held() -> None:
    """Its end came between its Hello and the moment at which somebody would hear of it."""
    registry, link = Registry("p1"), Link("p0", iter(()), lambda: None)
    link.stream_ended("it closed the stream")
    assert registry.offer("Exchange", link, Mock(session="00"), 60.0), "and there is nothing to wait for"
    assert not registry._offers
