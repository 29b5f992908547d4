"""What `tokenmill origin` and `tokenmill tokenize --verify` print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.io.archives import documents as read_documents
from tests.io.archives import member, record
from tests.tokens.support import make_set
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
