"""Where texts may go, and where never."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenmill.core.errors import ConfigError, FatalError
from tokenmill.io.chat.client import ChatClient
from tokenmill.io.chat.endpoint import HOSTS_ENV, Endpoint, refusal_of

LOOPBACK = ("http://localhost:8000/v1", "http://127.0.0.1/v1", "http://127.8.9.1:1/v1", "http://[::1]:8000/v1")
NEVER = (
    "169.254.169.254",
    "169.254.0.1",
    "fe80::1",
    "fe80::1%eth0",
    "febf::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fd20:ce:0:0:0:0:0:254",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "::169.254.169.254",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::169.254.169.254",
    "64:ff9b:1:fffe::169.254.169.254",
    "64:ff9b:1:a9fe:a9:fe00::",  # with a prefix of 48 bits
    "64:ff9b:1:12a9:fe:a9fe::",  # 56
    "64:ff9b:1:1234:a9:fea9:fe00:0",  # 64
    "64:ff9b:1::100.100.100.200",
    "64:ff9b:1::0.0.0.0",
    "64:ff9b:1::224.0.0.1",
    "2002:a9fe:a9fe::1",
    "100.100.100.200",
    "168.63.129.16",
    "0.0.0.0",
    "0.1.2.3",
    "::",
    "::ffff:0.0.0.0",
    "224.0.0.1",
    "239.255.255.250",
    "ff02::1",
    "::ffff:224.0.0.1",
    "255.255.255.255",
)
FINE = (
    "127.0.0.1",
    "::1",
    "10.0.0.8",
    "192.168.1.4",
    "fd12:3456::1",
    "fd20:ce::253",
    "64:ff9b:1::10.0.0.8",
    "64:ff9b:1:fffe::10.0.0.8",
    "64:ff9b:1:a00:0:800::",
    "64:ff9b:1:120a:0:8::",
    "64:ff9b:1:1234:a:0:800:0",
    "64:ff9b:2::169.254.169.254",
    "169.253.1.1",
    "169.255.1.1",
    "1.1.1.1",
    "fec0::1",
)


def endpoint(url: str, **fields: Any) -> Endpoint:
    return Endpoint(base_url=url, model="m", **fields)


@pytest.mark.parametrize("url", LOOPBACK)
def test_this_machine_needs_neither_encryption_nor_leave(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOSTS_ENV, "llm.example.org")
    assert endpoint(url, allow_hosts=("llm.example.org",)).base_url == url


@pytest.mark.parametrize(
    "host", ["api.example.org", "10.0.0.8", "localhost.example.org", "127.0.0.1.example.org", "node7"]
)
def test_no_text_leaves_the_machine_unencrypted_unless_that_is_said(host: str) -> None:
    with pytest.raises(ConfigError, match="by http") as caught:
        endpoint(f"http://{host}/v1")
    assert "--allow-http" in caught.value.fix
    assert endpoint(f"https://{host}/v1").host == host
    assert endpoint(f"http://{host}/v1", allow_http=True).host == host


@pytest.mark.parametrize("address", NEVER)
def test_addresses_that_are_never_connected_to(address: str) -> None:
    assert refusal_of(address)
    for url in (f"https://{address}/v1", f"https://[{address}]/v1"):
        with pytest.raises(ConfigError, match=r"not sent to|no web address"):
            endpoint(url, allow_http=True)
    with pytest.raises(FatalError, match="not sent to this address"):
        endpoint("https://api.example.org/v1").admit(address)


@pytest.mark.parametrize("address", FINE)
def test_addresses_that_may_be_servers(address: str) -> None:
    assert refusal_of(address) == ""
    endpoint("https://api.example.org/v1").admit(address)


@settings(max_examples=60, deadline=None)
@given(st.ip_addresses())
def test_forms_of_one_address_are_judged_alike(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if isinstance(address, ipaddress.IPv4Address):
        for form in (
            f"::ffff:{address}",
            f"64:ff9b::{address}",
            f"64:ff9b:1::{address}",
            f"::ffff:{int(address) >> 16:x}:{int(address) & 65535:x}",
        ):
            assert bool(refusal_of(form)) == bool(refusal_of(str(address))), form
    else:
        assert refusal_of(address.exploded) == refusal_of(address.compressed)


def test_a_name_of_this_machine_that_resolves_elsewhere() -> None:
    with pytest.raises(FatalError, match="not sent to this address"):
        endpoint("http://localhost:8000/v1").admit("10.0.0.8")
    endpoint("http://localhost:8000/v1").admit("::1")


def test_a_name_that_resolves_to_a_metadata_service_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with ChatClient(endpoint("https://innocent.example.org/v1")) as client:
            loop = asyncio.get_running_loop()

            async def lying(host: str, port: int, **more: Any) -> Any:
                return [(2, 1, 6, "", ("1.1.1.1", port)), (2, 1, 6, "", ("169.254.169.254", port))]

            monkeypatch.setattr(loop, "getaddrinfo", lying)
            with pytest.raises(FatalError, match="not sent to this address") as caught:
                await client.ask([{"role": "user", "content": "x"}], {})
            assert "innocent.example.org -> 169.254.169.254" in caught.value.where

    asyncio.run(run())


@pytest.mark.parametrize(
    ("host", "allowed", "fine"),
    [
        ("api.example.org", ("api.example.org",), True),
        ("API.Example.ORG", ("api.example.org",), True),
        ("api.example.org", ("API.example.org",), True),
        ("api.example.org", ("*.example.org",), True),
        ("a.b.example.org", ("*.example.org",), True),
        ("example.org", ("*.example.org",), False),
        ("evilexample.org", ("*.example.org",), False),
        ("api.example.org.evil.net", ("api.example.org", "*.example.org"), False),
        ("other.net", ("api.example.org", "other.net"), True),
        ("10.0.0.8", ("10.0.0.8",), True),
        ("10.0.0.80", ("10.0.0.8",), False),
        ("other.net", (), True),
    ],
)
def test_lists_of_hosts(host: str, allowed: tuple[str, ...], fine: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for everywhere in (False, True):  # of this run, or of the organisation
        monkeypatch.setenv(HOSTS_ENV, ", ".join(allowed) if everywhere else "")
        own = () if everywhere else allowed
        if fine:
            endpoint(f"https://{host}/v1", allow_hosts=own)
        else:
            with pytest.raises(ConfigError, match="may not go to") as caught:
                endpoint(f"https://{host}/v1", allow_hosts=own)
            assert caught.value.where == (HOSTS_ENV if everywhere else "the hosts that this run allows")


def test_both_lists_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOSTS_ENV, "*.example.org")
    endpoint("https://a.example.org/v1", allow_hosts=("a.example.org",))
    with pytest.raises(ConfigError, match="may not go to"):
        endpoint("https://b.net/v1", allow_hosts=("b.net",))
    with pytest.raises(ConfigError, match="may not go to"):
        endpoint("https://a.example.org/v1", allow_hosts=("b.example.org",))


@pytest.mark.parametrize(
    "url",
    [
        "https://a/v1\r\nX-Evil: 1",
        "https://a/v 1",
        "https://ä.example.org/v1",
        "https://a/v1/ü",
        "ftp://a/v1",
        "file:///etc/passwd",
        "https:///v1",
        "https://[::1/v1",
        "https://a:0/v1",
        "",
    ],
)
def test_addresses_that_are_no_web_addresses(url: str) -> None:
    with pytest.raises(ConfigError, match="no web address"):
        endpoint(url)


def test_parts_of_an_address() -> None:
    found = endpoint("https://[fd12::1]:8443/a/v1/")
    assert (found.host, found.port, found.path) == ("fd12::1", 8443, "/a/v1")
    assert (endpoint("https://a").port, endpoint("https://a").path) == (443, "")
    assert endpoint("http://localhost/v1").port == 80


def test_keys_by_name_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-general-1")
    monkeypatch.setenv("OTHER", " sk-other-2 ")
    assert endpoint("https://a/v1").api_key() == "sk-general-1"
    assert endpoint("https://a/v1", key_env="OTHER").api_key() == "sk-other-2"
    assert endpoint("https://a/v1", key_env="").api_key() == ""
    assert "sk-" not in repr(endpoint("https://a/v1")) + repr(vars(endpoint("https://a/v1")))
