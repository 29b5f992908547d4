"""Charsets: the order in which they are found, and real bytes in each of them."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenmill.extract.charset import _labels, attributes, codec_of, find_charset, from_meta

RUSSIAN = "Съешь же ещё этих мягких французских булок, да выпей чаю. " * 3
JAPANESE = "いろはにほへと ちりぬるを わかよたれそ つねならむ 日本語の文章です。" * 3
CHINESE = "中文网页的内容，我们在这里写一些简单的句子，用来测试编码的识别。" * 3
TRADITIONAL = "這是一個繁體中文的網頁，我們在這裡寫一些簡單的句子，用來測試編碼。" * 3
KOREAN = "한국어로 쓴 웹 페이지의 내용입니다. 문자 집합을 알아내는 시험을 합니다. " * 3
GERMAN = "Äpfel, Öl und Übermut: die süße Größe der Straße „schön“ – so weiß man’s. " * 3


@pytest.mark.parametrize(
    ("label", "codec"),
    [
        ("utf-8", "utf-8"),
        ("UTF8", "utf-8"),
        (" latin1 ", "cp1252"),
        ("ISO-8859-1", "cp1252"),
        ("us-ascii", "cp1252"),
        ("iso-8859-9", "cp1254"),
        ("gb2312", "gb18030"),
        ("GBK", "gb18030"),
        ("ks_c_5601-1987", "cp949"),
        ("euc-kr", "cp949"),
        ("shift_jis", "cp932"),
        ("x-sjis", "cp932"),
        ("big5", "big5hkscs"),
        ("windows-1251", "cp1251"),
        ("koi8-r", "koi8-r"),
        ("utf-16", "utf-16-le"),
        ("tis-620", "cp874"),
        ("utf-7", None),
        ("rot13", None),
        ("", None),
        ("no such", None),
    ],
)
def test_labels(label: str, codec: str | None) -> None:
    assert codec_of(label) == codec


def test_every_codec_exists() -> None:
    assert all(codecs.lookup(codec) for codec in set(_labels().values()))


@pytest.mark.parametrize(
    ("body", "content_type", "codec", "source"),
    [
        (b"\xef\xbb\xbfa", "text/html; charset=koi8-r", "utf-8", "bom"),
        ("\ufeffa".encode("utf-16-le"), "text/html; charset=utf-8", "utf-16-le", "bom"),
        ("\ufeffa".encode("utf-16-be"), "", "utf-16-be", "bom"),
        (b'<meta charset="koi8-r">', "text/html; charset=windows-1251", "cp1251", "http"),
        (b"a", 'text/html;charset="UTF-8"', "utf-8", "http"),
        (b"a", "text/html; Charset = 'gb2312'; x=y", "gb18030", "http"),
        (b'<meta charset="koi8-r">', "text/html; charset=nonsense", "koi8-r", "meta"),
        (b"<meta charset=Big5>", "text/html", "big5hkscs", "meta"),
        (b"plain", "", "utf-8", "utf-8"),
        ("é".encode(), "", "utf-8", "utf-8"),
        ("éaé".encode()[:-1], "", "utf-8", "utf-8"),  # cut in the middle of a character
        (b"a \xe9 b", "", "cp1252", "default"),
        ("é".encode(), "text/html; charset=iso-8859-1", "cp1252", "http"),
        ("<meta charset=iso-8859-1>é".encode(), "text/html", "utf-8", "utf-8"),  # the one departure
        ("<meta charset=iso-8859-2>é".encode(), "text/html", "iso8859-2", "meta"),
        ("é".encode(), "text/html; charset=iso-8859-2", "iso8859-2", "http"),
        (b"caf\xe9", "text/html; charset=iso-8859-1", "cp1252", "http"),
        (b"cafe", "text/html; charset=iso-8859-1", "cp1252", "http"),
    ],
)
def test_order(body: bytes, content_type: str, codec: str, source: str) -> None:
    found = find_charset(body, content_type)
    assert (found.codec, found.source) == (codec, source)


@pytest.mark.parametrize(
    ("head", "codec"),
    [
        ('<meta charset="shift_jis">', "cp932"),
        ("<META CHARSET=koi8-r>", "koi8-r"),
        ("<meta charset='koi8-r'/>", "koi8-r"),
        ('<meta http-equiv="Content-Type" content="text/html; charset=euc-jp">', "euc_jis_2004"),
        ("<meta content='text/html; charset=koi8-r' http-equiv=content-type>", "koi8-r"),
        ('<meta name="x" content="text/html; charset=koi8-r">', None),
        ('<!-- <meta charset="koi8-r"> --><meta charset="utf-8">', "utf-8"),
        ('<!-- <meta charset="koi8-r">', None),
        ('<metadata charset="koi8-r">', None),
        ('<meta charset="utf-16">', "utf-8"),
        ('<meta charset="nonsense"><meta charset="koi8-r">', "koi8-r"),
        ('<?xml version="1.0" encoding="windows-1251"?><html>', "cp1251"),
        (" " * 4000 + '<meta charset="koi8-r">', "koi8-r"),
        (" " * 4096 + '<meta charset="koi8-r">', None),
    ],
)
def test_meta(head: str, codec: str | None) -> None:
    assert from_meta(head.encode()) == codec


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        (JAPANESE, "cp932"),
        (JAPANESE, "euc_jp"),
        (CHINESE, "gb18030"),
        (TRADITIONAL, "big5"),
        (KOREAN, "cp949"),
        (GERMAN, "cp1252"),
        (GERMAN, "utf-8"),
        ("zażółć gęślą jaźń, proszę państwa, może być dłużej. " * 4, "cp1250"),
        ("Ağaçların gölgesinde çığlık atan öğrenci şaşırdı. İyi günler. " * 4, "cp1254"),
    ],
)
def test_detector_reads_real_bytes(text: str, codec: str) -> None:
    body = f"<html><body><p>{text}</p></body></html>".encode(codec)
    found = find_charset(body, "text/html")
    assert text in body.decode(found.codec, "replace")


@pytest.mark.parametrize(
    ("label", "text"),
    [("gb2312", "镕"), ("shift_jis", "①"), ("euc-jp", "①"), ("ks_c_5601-1987", "똠"), ("latin1", "“€”")],
)
def test_labels_are_read_as_the_superset_that_browsers_read(label: str, text: str) -> None:
    codec = codec_of(label)
    assert codec is not None
    assert text.encode(codec).decode(codec) == text


def test_broken_utf8_is_still_utf8() -> None:
    body = ("<p>" + GERMAN * 5).encode() + b"\xff and \xc3 more"
    assert find_charset(body, "").codec == "utf-8"


@given(st.binary(max_size=300), st.text(max_size=40))
def test_never_raises(body: bytes, content_type: str) -> None:
    found = find_charset(body, content_type)
    body[found.skip :].decode(found.codec, "replace")
    attributes(body)


def test_a_head_of_openers_is_linear() -> None:
    for piece in (b"<", b"<!--", b"<meta ", b"<meta a='", b"<?xml "):
        assert from_meta(piece * 100_000) is None
