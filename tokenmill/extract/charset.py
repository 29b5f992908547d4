"""Which charset the bytes of a page are in: the order of the WHATWG encoding standard, then a detector.

BOM, HTTP header, `<meta>` in the first bytes, valid UTF-8, detector. Labels mean what browsers take them to
mean (https://encoding.spec.whatwg.org/#names-and-labels): `latin1` is windows-1252, `gb2312` is gb18030.

One departure: a page whose `<meta>` says windows-1252 (or one of its 17 aliases), and that has bytes beyond ASCII
and is valid UTF-8, is UTF-8: somebody converted it and left the `<meta>`. Text in windows-1252 is valid UTF-8 only
by a freak. The HTTP header is believed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

PRESCAN_BYTES = 4096
"""Bytes searched for `<meta charset>`. The standard says 1,024; generators with long comments need more."""
DETECTOR_BYTES = 1 << 16
"""Bytes given to the detector, from the first byte beyond ASCII on."""
DETECTOR_MIN_BYTES = 8
"""Fewer bytes beyond ASCII than this are taken as windows-1252: from one copyright sign detectors guess wildly
(13 of 31 pages in windows-1252 of the test crawl were taken for UTF-8 by cchardet for its sake)."""

# Python codec: the labels of the standard that mean it. Where Python's codec of the same name is stricter
# than browsers, the superset is named (cp932 for shift_jis, gb18030 for gbk, cp949 for euc-kr, ...).
_CODECS = """
utf-8: unicode-1-1-utf-8 unicode11utf8 unicode20utf8 utf-8 utf8 x-unicode20utf8
cp866: 866 cp866 csibm866 ibm866
iso8859-2: csisolatin2 iso-8859-2 iso-ir-101 iso8859-2 iso88592 iso_8859-2 iso_8859-2:1987 l2 latin2
iso8859-3: csisolatin3 iso-8859-3 iso-ir-109 iso8859-3 iso88593 iso_8859-3 iso_8859-3:1988 l3 latin3
iso8859-4: csisolatin4 iso-8859-4 iso-ir-110 iso8859-4 iso88594 iso_8859-4 iso_8859-4:1988 l4 latin4
iso8859-5: csisolatincyrillic cyrillic iso-8859-5 iso-ir-144 iso8859-5 iso88595 iso_8859-5 iso_8859-5:1988
iso8859-6: arabic asmo-708 csiso88596e csiso88596i csisolatinarabic ecma-114 iso-8859-6 iso-8859-6-e
iso8859-6: iso-8859-6-i iso-ir-127 iso8859-6 iso88596 iso_8859-6 iso_8859-6:1987
iso8859-7: csisolatingreek ecma-118 elot_928 greek greek8 iso-8859-7 iso-ir-126 iso8859-7 iso88597
iso8859-7: iso_8859-7 iso_8859-7:1987 sun_eu_greek
iso8859-8: csiso88598e csisolatinhebrew hebrew iso-8859-8 iso-8859-8-e iso-ir-138 iso8859-8 iso88598
iso8859-8: iso_8859-8 iso_8859-8:1988 visual csiso88598i iso-8859-8-i logical
iso8859-10: csisolatin6 iso-8859-10 iso-ir-157 iso8859-10 iso885910 l6 latin6
iso8859-13: iso-8859-13 iso8859-13 iso885913
iso8859-14: iso-8859-14 iso8859-14 iso885914
iso8859-15: csisolatin9 iso-8859-15 iso8859-15 iso885915 iso_8859-15 l9
iso8859-16: iso-8859-16
koi8-r: cskoi8r koi koi8 koi8-r koi8_r
koi8-u: koi8-ru koi8-u
mac-roman: csmacintosh mac macintosh x-mac-roman
cp874: dos-874 iso-8859-11 iso8859-11 iso885911 tis-620 windows-874
cp1250: cp1250 windows-1250 x-cp1250
cp1251: cp1251 windows-1251 x-cp1251
cp1252: ansi_x3.4-1968 ascii cp1252 cp819 csisolatin1 ibm819 iso-8859-1 iso-ir-100 iso8859-1 iso88591
cp1252: iso_8859-1 iso_8859-1:1987 l1 latin1 us-ascii windows-1252 x-cp1252
cp1253: cp1253 windows-1253 x-cp1253
cp1254: cp1254 csisolatin5 iso-8859-9 iso-ir-148 iso8859-9 iso88599 iso_8859-9 iso_8859-9:1989 l5 latin5
cp1254: windows-1254 x-cp1254
cp1255: cp1255 windows-1255 x-cp1255
cp1256: cp1256 windows-1256 x-cp1256
cp1257: cp1257 windows-1257 x-cp1257
cp1258: cp1258 windows-1258 x-cp1258
mac-cyrillic: x-mac-cyrillic x-mac-ukrainian
gb18030: chinese csgb2312 csiso58gb231280 gb2312 gb_2312 gb_2312-80 gbk iso-ir-58 x-gbk gb18030
big5hkscs: big5 big5-hkscs cn-big5 csbig5 x-x-big5
euc_jis_2004: cseucpkdfmtjapanese euc-jp x-euc-jp
iso2022_jp_2: csiso2022jp iso-2022-jp
cp932: csshiftjis ms932 ms_kanji shift-jis shift_jis sjis windows-31j x-sjis
cp949: cseuckr csksc56011987 euc-kr iso-ir-149 korean ks_c_5601-1987 ks_c_5601-1989 ksc5601 ksc_5601
cp949: ks_c_5601 windows-949
hz: hz-gb-2312
iso2022_kr: csiso2022kr iso-2022-kr
utf-16-be: unicodefffe utf-16be
utf-16-le: csunicode iso-10646-ucs-2 ucs-2 unicode unicodefeff utf-16 utf-16le
"""

_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xfe\xff", "utf-16-be"), (b"\xff\xfe", "utf-16-le"))
_HEADER_CHARSET = re.compile(r"charset\s*+=\s*+[\"']?+\s*+([^\s\"';,]+)", re.IGNORECASE)  # possessive: linear
_XML_ENCODING = re.compile(rb"<\?xml[^>]{0,200}?\sencoding\s*=\s*[\"']([A-Za-z0-9._:-]{1,40})[\"']")
_ATTRIBUTE = re.compile(
    rb"[\s/]*([^\s/>=][^\s/>=]*)(?:\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s>\"'][^\s>]*)?))?", re.DOTALL
)
# Answers of the detector that are no labels of the standard. Maltese (ISO 8859-3) is what it makes of German.
_DETECTED = {"euc_jp": "euc_jis_2004", "cp949": "cp949", "iso8859-3": "cp1252"}
_HIGH_BYTES = bytes(range(0x80, 0x100))
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")


@dataclass(frozen=True)
class Charset:
    """A Python codec and where it was found: bom, http, meta, utf-8, detector, default."""

    codec: str
    source: str
    skip: int = 0
    """Bytes of the byte order mark."""


@cache
def _labels() -> dict[str, str]:
    rows = (line.partition(":")[::2] for line in _CODECS.strip().splitlines())
    return {label: codec for codec, labels in rows for label in labels.split()}


def codec_of(label: str) -> str | None:
    """The Python codec for a charset label, None for a label that browsers do not know."""
    return _labels().get(label.strip().lower())


def attributes(tag: bytes, start: int = 0) -> dict[bytes, bytes]:
    """Attributes of a start tag from `start` (after its name) to its `>`; names in lower case, first wins."""
    found: dict[bytes, bytes] = {}
    position = start
    while (match := _ATTRIBUTE.match(tag, position)) is not None:
        name, *values = match.groups()
        found.setdefault(name.lower(), next((v for v in values if v is not None), b""))
        position = match.end()
    return found


def from_meta(body: bytes) -> str | None:
    """Codec that a `<meta>` or an XML declaration in the first bytes names."""
    head = body[:PRESCAN_BYTES]
    position = 0
    while (position := head.find(b"<", position)) >= 0:
        if head.startswith(b"<!--", position):
            position = head.find(b"-->", position + 2)
            if position < 0:
                break
        elif head[position + 1 : position + 5].lower() == b"meta" and head[position + 5 : position + 6] in _SPACE:
            codec = _meta_codec(attributes(head, position + 5))
            if codec is not None:
                return codec
        position += 1
    declared = _XML_ENCODING.match(head)
    return _readable(declared.group(1)) if declared is not None else None


_SPACE = (b" ", b"\t", b"\n", b"\r", b"\f", b"/")


def _meta_codec(attrs: dict[bytes, bytes]) -> str | None:
    if b"charset" in attrs:
        return _readable(attrs[b"charset"])
    if attrs.get(b"http-equiv", b"").strip().lower() == b"content-type":
        match = _HEADER_CHARSET.search(attrs.get(b"content", b"").decode("latin-1"))
        return _readable(match.group(1).encode("latin-1")) if match is not None else None
    return None


def _readable(label: bytes) -> str | None:
    """UTF-16 in a `<meta>` that could be read as ASCII is a lie; the standard takes it as UTF-8."""
    codec = codec_of(label.decode("latin-1"))
    return "utf-8" if codec in ("utf-16-le", "utf-16-be") else codec


def find_charset(body: bytes, content_type: str) -> Charset:
    """The charset of a page; never fails, since windows-1252 is the last resort."""
    for bom, codec in _BOMS:
        if body.startswith(bom):
            return Charset(codec, "bom", len(bom))
    declared, source = None, "http"
    match = _HEADER_CHARSET.search(content_type)
    if match is not None:
        declared = codec_of(match.group(1))
    if declared is None:
        declared, source = from_meta(body), "meta"
    if declared is not None and (source == "http" or declared != "cp1252"):
        return Charset(declared, source)
    if body.isascii():
        return Charset(declared or "utf-8", source if declared else "utf-8")
    if _is_utf8(body):
        return Charset("utf-8", "utf-8")
    if declared is not None:
        return Charset(declared, source)
    return _detect(body)


def _is_utf8(body: bytes) -> bool:
    """Strictly valid, but for a character that the end of a cut page splits, if it is not the only one."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data" and not body[: error.start].isascii()
    return True


def _detect(body: bytes) -> Charset:
    """The charset of bytes that are not valid UTF-8 and declare nothing."""
    first = _BEYOND_ASCII.search(body)
    start = first.start() if first is not None else 0
    window = body[start : start + DETECTOR_BYTES]
    foreign = len(window) - len(window.translate(None, _HIGH_BYTES))
    broken = window.decode("utf-8", "replace").count("\ufffd")
    if foreign > 4 * broken:
        return Charset("utf-8", "detector")  # UTF-8 with some bytes broken, and the detector would not say so
    if foreign < DETECTOR_MIN_BYTES:
        return Charset("cp1252", "default")
    from resiliparse.parse.encoding import detect_encoding

    guess = detect_encoding(window, max_len=DETECTOR_BYTES, html5_compatible=False) or ""
    codec = _DETECTED.get(guess.lower(), codec_of(guess))
    return Charset(codec, "detector") if codec not in (None, "utf-8") else Charset("cp1252", "default")
