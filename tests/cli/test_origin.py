"""What `tokenmill origin` and `tokenmill tokenize --verify` print."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.io.archives import documents as read_documents
from tests.io.archives import member, record
from tests.tokens.support import make_set
from tokenmill.cli.console import error_text, safe, safe_line
from tokenmill.cli.main import app
from tokenmill.cli.origin import show_origin
from tokenmill.cli.verify_tokens import verify_command
from tokenmill.core.errors import ConfigError
from tokenmill.tokens.tokenset import TokenSet

HOSTILE = "http://x/\x1b[31m[red]\n\rtoken  0: EOS"


@pytest.fixture
def tokens(tmp_path: Path) -> TokenSet:
    crawl = tmp_path / "crawl"
    crawl.mkdir()
    path = crawl / "a.warc.gz"
    body = b"<p>Hello [bold]\x1b[2J\xff"
    path.write_bytes(member(record(1)) + member(record(2, body, extra="X-Evil: \x1b[31m[/red]\r\n")))
    rows, _ = read_documents(path)
    kept = ("doc_id", "id", "file_path", "warc_offset", "warc_length")
    tags: dict[str, list[Any]] = {name: [row[name] for row in rows] for name in kept}
    tags |= {"url": ["http://a/", HOSTILE], "topic": ["news", None], "score": [0.5, 1.5]}
    return make_set(tmp_path / "set", [[[1, 2, 3], [4, 5]]], tags=tags, made_from=[{"input": str(crawl)}])


def test_a_token(tokens: TokenSet, capsys: pytest.CaptureFixture[str]) -> None:
    show_origin(str(tokens.shards[0].path), 5, text=True, record=True)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    lines = out.splitlines()
    assert lines[0] == "token          5: token 1 of the document, from 0"
    assert lines[2] == "document       1 of the shard, 2 from 4"
    assert [line.split()[0] for line in lines[3:8]] == ["doc_id", "id", "url", "dump", "date"]
    assert lines[5] == "url            http://x/[31m[red]  token  0: EOS"
    assert "w4 w5" in lines
    assert "  x-evil: [31m[/red]" in lines
    assert "  HTTP status 200" in lines
    assert lines[-1] == "<p>Hello [bold][2J�"
    show_origin(str(tokens.shards[0].path), 3)
    assert "0: EOS, behind the document" in capsys.readouterr().out


def test_for_programs(tokens: TokenSet, capsys: pytest.CaptureFixture[str]) -> None:
    show_origin(str(tokens.shards[0].path), 5, text=True, record=True, as_json=True)
    out = capsys.readouterr().out
    assert out.isascii()
    about = json.loads(out)
    row, found = about.pop("row"), about.pop("record")
    assert about == {
        "set": str(tokens.folder),
        "shard": "00000",
        "file": str(tokens.folder / "00000.ds"),
        "offset": 5,
        "token": 5,
        "eos": False,
        "position": 1,
        "document": 1,
        "token_start": 4,
        "token_count": 2,
        "archive": {"path": str(tokens.folder.parents[1] / "crawl" / "a.warc.gz"), "there": True},
        "text": {"before": "w4", "token": " w5", "after": ""},
    }
    assert row["url"] == HOSTILE
    assert (row["topic"], row["score"]) == (None, 1.5)
    assert found["same_id"] is True
    assert found["status"] == 200
    assert found["headers"]["warc-record-id"] == row["id"]


def test_a_document(tokens: TokenSet, capsys: pytest.CaptureFixture[str]) -> None:
    show_origin(str(tokens.folder), url="http://a/")
    assert "offset 0" in capsys.readouterr().out
    show_origin(str(tokens.folder), id="<urn:uuid:" + "2".zfill(32) + ">", as_json=True, record=True)
    about = json.loads(capsys.readouterr().out)
    assert (about["token_start"], about["token_count"], about["record"]["status"]) == (4, 2, 200)
    assert "offset" not in about


def test_another_archive(tokens: TokenSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.warc.gz").write_bytes(member(record(7)))
    show_origin(str(tokens.shards[0].path), 0, record=True, archives=[str(other)])
    assert "its id is not that of the document" in capsys.readouterr().out


def test_wrong_questions(tokens: TokenSet, tmp_path: Path) -> None:
    target = str(tokens.shards[0].path)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({}, "no token or document is asked for"),
        ({"offset": 1, "url": "u"}, "two things are asked for"),
        ({"id": "1", "url": "u"}, "two things are asked for"),
        ({"url": "u", "text": True}, "--text shows the text around a token"),
        ({"url": "u"}, "no document of .* has the url 'u'"),
    ]
    for asked, what in wrong:
        with pytest.raises(ConfigError, match=what):
            show_origin(target, **asked)
    unknown = make_set(tmp_path / "unknown", [[[1]]])
    with pytest.raises(ConfigError, match="nobody knows where the archive"):
        show_origin(str(unknown.shards[0].path), 0, record=True)


def test_verify(tokens: TokenSet, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify_command(str(tokens.folder)) == 0
    end = f"{tokens.folder}: 7 tokens of 2 documents in 1 shards"
    assert capsys.readouterr().out == f"{end}: whole (every byte)\n"
    assert verify_command(str(tokens.folder), digests=False) == 0
    assert capsys.readouterr().out == f"{end}: whole (sizes, tables, ids)\n"
    (tokens.folder / "00000.ds.index").write_bytes(b"")
    assert verify_command(str(tokens.folder)) == 1
    assert capsys.readouterr().out == f"00000.ds.index: 0 bytes, the manifest says 16\n{end}: 1 problems\n"


def test_verify_without_digests(tokens: TokenSet) -> None:
    path = tokens.folder / "00000.ds"
    path.write_bytes(path.read_bytes().replace(b"\1\0", b"\7\0"))  # another id, which no table contradicts
    verify = ["tokenize", "--verify", str(tokens.folder)]
    found = CliRunner().invoke(app, verify)
    assert (found.exit_code, "its SHA-256 is not that of the manifest" in found.output) == (1, True)
    found = CliRunner().invoke(app, [*verify, "--no-digests"])
    assert (found.exit_code, "whole (sizes, tables, ids)" in found.output) == (0, True)
    found = CliRunner().invoke(app, ["tokenize", str(tokens.folder), "--output", "x", "--no-digests"])
    assert isinstance(found.exception, ConfigError)
    assert "--verify" in found.exception.fix


def test_megatron_cannot_open_empty_shards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = make_set(tmp_path, [[[1]], [], [[2]], []], "megatron")
    assert verify_command(str(made.folder)) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("2 shards hold no documents, which Megatron cannot open")
    assert first.endswith(": 00001, 00003")
    assert last.endswith("in 4 shards: whole (every byte)")
    assert verify_command(str(make_set(tmp_path / "ds", [[[1]], []]).folder)) == 0
    assert "no documents" not in capsys.readouterr().out


def test_sets_on_stores() -> None:
    for ask in (lambda: show_origin("s3://bucket/set/00000", 1), lambda: verify_command("s3://bucket/set")):
        with pytest.raises(ConfigError, match=r"^s3://bucket/set\S* is not on a local disk") as caught:
            ask()
        assert "copy the set" in caught.value.fix


BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
ORDINARY = [
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian with ZWNJ
    "\u0915\u094d\u200d\u0937",  # Devanagari with ZWJ
    "\u05e9\u05dc\u05d5\u05dd (abc)",  # Hebrew
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",  # a family of three
    "Donau\u00addampf\u2013schiff\u00a0\u2026",
    "\u0600\u0661\u0662",  # the sign of a number, and the number
]


def test_characters_that_reorder_or_hide_text(tokens: TokenSet, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ORDINARY:
        assert safe(text) == safe_line(text) == text
    for one in BIDI + "\u200b\u2028\u2029\u2060\ufeff\U000e0041\ud800":
        shown = f"a<U+{ord(one):04X}>b"
        assert safe(f"a{one}b") == safe_line(f"a{one}b") == shown
        assert shown in error_text(ConfigError(f"a{one}b", why=f"a{one}b"))
    evil = f"http://x/{BIDI}gpj.exe"
    made = make_set(tokens.folder.parent / "evil", [[[1]]], tags={"url": [evil], "id": [f"<{BIDI}>"]})
    show_origin(str(made.shards[0].path), 0)
    out = capsys.readouterr().out
    assert "url            http://x/<U+061C><U+200E>" in out
    assert not [one for one in out if unicodedata.category(one) == "Cf"]
