"""The transport against real sockets: what a server may do is understood, what it must not do is told apart."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.io.chat.raw_server import Answer, Asked, Raw, raw, whole
from tokenmill.core.errors import FatalError
from tokenmill.io.chat.http1 import HttpFault, Pool, Response

pytest.importorskip("httptools")
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def play(answer: Answer | bytes, use: Callable[[Pool, Raw], Awaitable[Any]], **fields: Any) -> Any:
    """What comes of using a pool for a server."""

    async def run() -> Any:
        async with raw(answer) as server:
            pool = Pool("http", "127.0.0.1", server.port, **{"timeout": 5.0, **fields})
            async with pool:
                return await use(pool, server)

    return asyncio.run(run())


async def one(pool: Pool, server: Raw) -> Response:
    return await pool.post("/x", b"{}")


def fault(answer: Answer | bytes, **fields: Any) -> HttpFault:
    with pytest.raises(HttpFault) as caught:
        play(answer, one, **fields)
    return caught.value


def then_close(data: bytes) -> Answer:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        writer.close()

    return answer


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (whole(b"abc"), b"abc"),
        (whole(b""), b""),
        (CHUNKED + b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
        (CHUNKED + b"1\r\na\r\n2;x=y\r\nbc\r\n0\r\nX-Trailer: 1\r\n\r\n", b"abc"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + whole(b"abc"), b"abc"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: identity\r\ncontent-length: 1\r\n\r\nz", b"z"),
    ],
)
def test_bodies_however_they_are_framed(answer: bytes, body: bytes) -> None:
    async def twice(pool: Pool, server: Raw) -> None:
        for _ in range(2):
            assert (await pool.post("/x", b"{}")).body == body
        assert server.connections == 1

    play(answer, twice)


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 200 OK\r\n\r\nabc", b"HTTP/1.0 200 OK\r\n\r\nabc", whole(b"abc", more=b"Connection: close\r\n")],
)
def test_bodies_that_end_with_the_connection(answer: bytes) -> None:
    async def twice(pool: Pool, server: Raw) -> None:
        for _ in range(2):
            assert (await pool.post("/x", b"{}")).body == b"abc"
        assert server.connections == 2

    play(then_close(answer), twice)


def test_what_is_sent() -> None:
    async def use(pool: Pool, server: Raw) -> None:
        await pool.post("/v1/x", b'{"a": 1}')
        await pool.get("/v1/y")
        post, get = server.asked
        assert post.head.startswith(b"POST /v1/x HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % server.port)
        assert b"\r\nAccept-Encoding: identity\r\n" in post.head
        assert b"\r\nContent-Length: 8\r\n" in post.head
        assert b"\r\nAuthorization: Bearer k\r\n" in post.head
        assert post.body == b'{"a": 1}'
        assert get.head.startswith(b"GET /v1/y HTTP/1.1\r\n")
        assert b"Content-Length" not in get.head

    play(whole(), use, headers={"Authorization": "Bearer k"})


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=6),
    st.sampled_from(["length", "chunks", "end"]),
    st.lists(st.integers(0, 400), max_size=8),
)
def test_any_body_cut_into_packets_anywhere(parts: list[bytes], framing: str, cuts: list[int]) -> None:
    body = b"".join(parts)
    if framing == "length":
        data = whole(body)
    elif framing == "chunks":
        data = CHUNKED + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    else:
        data = b"HTTP/1.1 200 OK\r\n\r\n" + body

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        for start, end in pairwise(sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})):
            writer.write(data[start:end])
            await asyncio.sleep(0)
        if framing == "end":
            writer.close()

    assert play(answer, one) == (200, play(answer, one).headers, body)


@settings(max_examples=25, deadline=None)
@given(st.binary(min_size=1, max_size=40), st.sampled_from(["length", "chunks"]), st.data())
def test_what_is_cut_anywhere_is_never_taken_for_an_answer(body: bytes, framing: str, data: st.DataObject) -> None:
    said = whole(body) if framing == "length" else CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    cut = data.draw(st.integers(0, len(said) - 1))
    assert fault(then_close(said[:cut])).kind == "cut_body"


WHOLE = (whole(b"abc"), CHUNKED + b"3\r\nabc\r\n0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\nabc", b"HTTP/1.1 204 No\r\n\r\n")


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(WHOLE) | st.binary(max_size=60),
    st.lists(st.tuples(st.integers(0, 90), st.integers(0, 2), st.binary(max_size=4)), max_size=3),
)
def test_whatever_a_server_says_is_an_answer_or_a_fault(said: bytes, changes: list[tuple[int, int, bytes]]) -> None:
    for place, count, new in changes:
        said = said[:place] + new + said[place + count :]
    try:
        found = play(then_close(said), one)
    except (HttpFault, FatalError):
        return
    assert found.status >= 200
    assert isinstance(found.body, bytes)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde", "protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", "protocol"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", "protocol"),
        (CHUNKED + b"zz\r\n", "protocol"),
        (whole(b"x" * 2000), "too_large"),
        (CHUNKED + (b"64\r\n" + b"x" * 100 + b"\r\n") * 11, "too_large"),
        (b"HTTP/1.1 200 OK\r\n" + b"X-Pad: %b\r\n" % (b"x" * 1000) * 80, "too_large"),
        (b"HTTP/1.1 200 OK\r\nX-Pad: " + b"x" * 80_000, "too_large"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 4000, "too_large"),
        (b"", "cut_body"),
    ],
)
def test_answers_that_are_none(said: bytes, kind: str) -> None:
    assert fault(then_close(said), body_limit=1000).kind == kind


def test_a_body_at_the_limit() -> None:
    assert len(play(whole(b"x" * 1000), one, body_limit=1000).body) == 1000
    assert fault(whole(b"x" * 1001), body_limit=1000).detail == "a body of 1001 bytes is announced"


def test_compression_is_refused_in_words() -> None:
    with pytest.raises(FatalError, match="compresses") as caught:
        play(whole(b"\x1f\x8b", more=b"Content-Encoding: gzip\r\n"), one)
    assert "gzip" in caught.value.why


@pytest.mark.parametrize("first", [b"", b"HTTP/1.1 200 OK\r\nContent-Le", whole(b"abcdef")[:-3]])
def test_time_ends_wherever_the_server_stops(first: bytes) -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        await writer.drain()
        await asyncio.sleep(30.0)

    assert fault(answer, timeout=0.1).kind == "timeout"


def test_a_server_that_trickles_runs_out_of_time() -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            writer.write(b"x")
            await asyncio.sleep(0.02)

    found = fault(answer, timeout=0.6)
    assert found.kind == "timeout"
    assert "of the body of 1000" in found.detail


def test_a_connection_that_the_server_has_closed_is_not_used() -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(whole())
        await writer.drain()
        writer.close()  # without having said so

    async def use(pool: Pool, server: Raw) -> None:
        for _ in range(3):
            await pool.post("/x", b"{}")
            await asyncio.sleep(0.05)
        assert server.connections == 3

    play(answer, use)


def test_a_kept_connection_that_ends_without_a_byte_is_told_apart() -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if asked.number == 1:
            writer.close()
        else:
            writer.write(whole())

    async def use(pool: Pool, server: Raw) -> None:
        await pool.post("/x", b"{}")
        with pytest.raises(HttpFault) as caught:
            await pool.post("/x", b"{}")
        assert caught.value.kind == "stale"
        assert (await pool.post("/x", b"{}")).status == 200
        assert server.connections == 2

    play(answer, use)


def test_a_connection_is_not_used_when_the_server_will_soon_close_it() -> None:
    async def use(pool: Pool, server: Raw) -> None:
        for _ in range(2):
            await pool.post("/x", b"{}")
        assert server.connections == 2

    play(whole(more=b"Keep-Alive: timeout=1, max=100\r\n"), use)


@pytest.mark.parametrize("extra", [whole(b"other"), b"x", b"HTTP/1.1 200 OK\r\nA: b\r\n"])
@pytest.mark.parametrize("later", [False, True])
def test_more_than_was_asked_for_never_answers_the_next_request(extra: bytes, later: bool) -> None:
    came, sent = asyncio.Semaphore(0), asyncio.Semaphore(0)

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if later:
            writer.write(whole(b"right", more=b"B: c\r\n"))
            await came.acquire()
            writer.write(extra)
        else:
            writer.write(whole(b"right", more=b"B: c\r\n") + extra)
        sent.release()

    async def use(pool: Pool, server: Raw) -> None:
        for _ in range(3):
            found = await pool.post("/x", b"{}")
            assert (found.body, found.headers) == (b"right", {"b": "c", "content-length": "5"})
            came.release()
            await sent.acquire()
            await asyncio.sleep(0.02)
        assert server.connections == 3

    play(answer, use)


def test_a_request_that_is_given_up_leaves_no_answer_for_the_next() -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1 if asked.body == b"slow" else 0.0)
        writer.write(whole(asked.body))

    async def use(pool: Pool, server: Raw) -> None:
        await pool.post("/x", b"first")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.03):
                await pool.post("/x", b"slow")
        for number in range(5):
            assert (await pool.post("/x", b"%d" % number)).body == b"%d" % number
            await asyncio.sleep(0.03)

    play(answer, use, connections=1)


def test_many_at_once_share_the_connections_and_get_their_own_answers() -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.001 * (asked.number % 3))
        writer.write(whole(asked.body))

    async def use(pool: Pool, server: Raw) -> None:
        found = await asyncio.gather(*(pool.post("/x", b"%d" % number) for number in range(200)))
        assert [int(one.body) for one in found] == list(range(200))
        assert server.connections == 8

    play(answer, use, connections=8)


def test_addresses_are_looked_at_before_anything_is_sent() -> None:
    seen: list[str] = []

    def refuse(address: str) -> None:
        seen.append(address)
        raise FatalError("no")

    async def use(pool: Pool, server: Raw) -> None:
        with pytest.raises(FatalError, match="no"):
            await pool.post("/x", b"{}")
        assert (seen, server.connections, server.asked) == (["127.0.0.1"], 0, [])

    play(whole(), use, admit=refuse)


def test_a_name_that_comes_to_mean_another_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rebinding: the first look at a name gives a fine address, later ones do not; it is looked at once."""
    given_ = iter(["127.0.0.1", "169.254.169.254"])

    async def use(pool: Pool, server: Raw) -> None:
        loop = asyncio.get_running_loop()
        real = loop.getaddrinfo

        async def lying(host: Any, port: Any, **more: Any) -> Any:
            return await real(next(given_) if host == "a.test" else host, port, **more)

        monkeypatch.setattr(loop, "getaddrinfo", lying)
        seen: list[str] = []
        async with Pool("http", "a.test", server.port, timeout=5.0, admit=seen.append) as named:
            assert (await named.post("/x", b"{}")).status == 200
        assert set(seen) == {"127.0.0.1"}

    play(whole(), use)


def test_an_address_that_swallows_connections_costs_its_share_of_the_time_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def use(pool: Pool, server: Raw) -> None:
        loop = asyncio.get_running_loop()
        real = loop.create_connection
        tried: list[str] = []

        async def lying(host: Any, port: Any, **more: Any) -> Any:
            return [(10, 1, 6, "", ("::2", port)), (2, 1, 6, "", ("127.0.0.1", port))]

        async def connect(factory: Any, address: str, *more: Any, **fields: Any) -> Any:
            tried.append(address)
            if address == "::2":
                await asyncio.sleep(60.0)
            return await real(factory, address, *more, **fields)

        monkeypatch.setattr(loop, "getaddrinfo", lying)
        monkeypatch.setattr(loop, "create_connection", connect)
        async with Pool("http", "a.test", server.port, timeout=2.0) as named:
            for _ in range(5):
                assert (await named.post("/x", b"{}")).status == 200
        assert tried.count("::2") <= 1
        assert tried.count("127.0.0.1") == server.connections == 5

    play(whole(more=b"Connection: close\r\n"), use)


def test_nobody_listens() -> None:
    async def use(pool: Pool, server: Raw) -> None:
        async with Pool("http", "127.0.0.1", 9, timeout=5.0) as nobody:
            with pytest.raises(HttpFault) as caught:
                await nobody.get("/x")
        assert caught.value.kind == "connection"
        async with Pool("http", "no-such-host.invalid", 80, timeout=5.0) as nobody:
            with pytest.raises(HttpFault) as caught:
                await nobody.get("/x")
        assert caught.value.kind in ("connection", "timeout")

    play(whole(), use)


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """(a server's context, its own authority) for 127.0.0.1."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tokenmill test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(
            name, name, key.public_key(), 1, now - datetime.timedelta(1), now + datetime.timedelta(1)
        )
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "cert.pem").write_bytes(pem)
    (folder / "both.pem").write_bytes(private + pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "both.pem")
    return context, folder / "cert.pem"


def test_encryption_and_certificates_that_are_not_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context, authority = certificate(tmp_path)

    async def run(host: str) -> Response:
        async with raw(whole(b"secret"), context) as server, Pool("https", host, server.port, timeout=5.0) as pool:
            for _ in range(3):
                found = await pool.post("/x", b"{}" * 50_000)
            assert server.connections == 1
            return found

    with pytest.raises(FatalError, match="certificate"):
        asyncio.run(run("127.0.0.1"))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    assert asyncio.run(run("127.0.0.1")).body == b"secret"
    with pytest.raises(FatalError, match="certificate"):  # of another name
        asyncio.run(run("localhost"))


def test_both_event_loops() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def run() -> list[str]:
        kinds = []
        async with raw(whole(b"abc")) as server, Pool("http", "127.0.0.1", server.port, timeout=5.0) as pool:
            found = await asyncio.gather(*(pool.post("/x", b"{}") for _ in range(20)))
            assert all(one.body == b"abc" for one in found)
        for said in (b"", b"junk\r\n", whole(b"abc")[:-1], b"HTTP/1.1 200 OK\r\n\r\nabc"):
            async with raw(then_close(said)) as server, Pool("http", "127.0.0.1", server.port, timeout=5.0) as pool:
                try:
                    kinds.append((await pool.post("/x", b"{}")).body.decode())
                except HttpFault as error:
                    kinds.append(error.kind)
        return kinds

    assert uvloop.run(run()) == asyncio.run(run()) == ["cut_body", "protocol", "cut_body", "abc"]
