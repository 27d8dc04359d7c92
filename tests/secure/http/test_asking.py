"""Which servers may be asked, and with a key."""

from __future__ import annotations

import pytest

from secure.http.asking import check_url
from secure.protocols.core.errors import ConfigurationError


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/v1", "http://[::1]/v1", "http://localhost", "https://a.org/v1"])
def test_a_key_goes_to_this_machine_or_over_tls(url: str) -> None:
    check_url(url, with_key=True)


@pytest.mark.parametrize(
    "url", ["http://a.org/v1", "http://127.0.0.1.a.org/v1", "http://localhost.a.org", "http://localhost@a.org/v1"]
)
def test_a_key_does_not_travel_in_clear(url: str) -> None:
    check_url(url)
    with pytest.raises(ConfigurationError, match="the API key would travel in clear"):
        check_url(url, with_key=True)


@pytest.mark.parametrize("url", ["a.org/v1", "ftp://a.org", "http://", "file:///etc/passwd"])
def test_what_is_no_address_of_a_server(url: str) -> None:
    with pytest.raises(ConfigurationError, match="is no address of a server"):
        check_url(url)
