"""The pre-scan: rules one by one, the compiled kernel against its twin, hostile pages."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.extract.prescan_twin import twin
from tests.properties import examples
from tokenmill.extract.prescan import prescan

MANY = 200_000


@pytest.mark.parametrize(
    ("page", "elements", "depth"),
    [
        ("", 0, 0),
        ("text & 1 < 2", 0, 0),
        ("<div><div><div>", 3, 3),
        ("<div></div><div></div>", 2, 1),
        ("<br><img><hr>" * 50, 150, 0),  # void elements are never open
        ("<p>a" * 50, 50, 1),  # p ends p
        ("<p>a<div>b" * 10, 20, 10),  # div ends p, and stays open
        ("<ul>" + "<li>a" * 50, 51, 2),
        ("<ul><li><ul><li><ul><li>", 6, 6),  # not through a list
        ("<table>" + "<tr><td>a<td>b" * 50, 151, 3),
        ("<table><tr><td><table><tr><td>", 6, 6),  # not through a table
        ("<dl>" + "<dt>a<dd>b" * 50, 101, 2),
        ("<select>" + "<option>a" * 50, 51, 2),
        ("<a href=x>b" * 50, 50, 1),
        ("<b>" * 50, 50, 50),
        ("<span/>" * 50, 50, 0),
        ("<div></i></span></div>" * 50, 50, 1),  # stray end tags close nothing
        ("<div><i><b></div>" * 50, 150, 3),  # an end tag closes what is open inside
        ("<!-- <div> --><!DOCTYPE html><?php <div> ?>", 0, 0),
        ("<!--><div>", 1, 1),
        ("<script>if (a <b) '<div>'</script><p>", 2, 1),
        ("<DIV><Div></DIV>", 2, 2),
    ],
)
def test_shape(page: str, elements: int, depth: int) -> None:
    shape = prescan(page.encode())
    assert (shape.elements, shape.depth) == (elements, depth)


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<p>a  b\n\tc</p>", "a b c"),
        ("<p>a</p><p>b</p>", "a\nb"),
        ("a<b>b</b>c<br>d", "abc\nd"),
        ("<style>x</style><script>y</script>a<!-- z --><noscript>n</noscript>b", "a\nb"),
        ("<svg><text>x</text></svg>a<template>t<p>u</template>b", "a\nb"),
        ("<noscript>never closed <p>x", ""),
        ("<title>t</title><textarea>u</textarea>a", "a"),
        ("<pre>a\n  b</pre>c\nd", "a\nb\nc d"),
        ("a &amp; b", "a &amp; b"),
        ("1 < 2 <3", "1 < 2 <3"),
        ("a<script>b", "a"),
        ("é中", "é中"),
    ],
)
def test_text(page: str, text: str) -> None:
    assert prescan(page.encode(), 1000).text == text


def test_text_limit_is_kept_and_splits_no_character() -> None:
    assert prescan(b"abcdef", 3).text == "abc"
    assert prescan("éé".encode(), 3).text == "é"
    assert prescan(b"abcdef", 0).text == ""


@pytest.mark.parametrize(
    ("tag", "count"),
    [("<a>", 0), ("<a b>", 1), ("<a b=c d='e f' g=\"h>i\">", 3), ("<a b = c>", 1), ("<a b='c'd>", 2), ("<a/>", 0)],
)
def test_attributes(tag: str, count: int) -> None:
    assert prescan(tag.encode()).attributes == count
    assert prescan(tag.encode()).attribute_bytes == len(tag) - 3


PIECES = [
    *"<div> </div> <p> </p> <table> </table> <tr> <td> </td> <ul> <li> </ul> <b> </b> <br> <span/> <a> </a>".split(),
    *"<script> </script> <style> </style> <noscript> </noscript> <pre> </pre> <select> <option> <title>".split(),
    *"<!-- --> <!--> < > / = \" ' <! <? </ <1 é 中 word &amp; <textarea> </textarea> <Div x=1> <blockquote>".split(),
    *[" ", "\n", "\t", "<a b='c d' e>", '<a b="', "<p class = x >", "<plaintextx>", "</blockquotes>", "\0", "\v"],
]


@examples(100, 400)
@given(st.lists(st.sampled_from(PIECES), max_size=60).map("".join), st.integers(0, 80))
def test_kernel_equals_twin(page: str, limit: int) -> None:
    assert prescan(page.encode(), limit) == twin(page.encode(), limit)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(page: bytes) -> None:
    assert prescan(page, 100) == twin(page, 100)


def test_kernel_equals_twin_on_long_random_pages() -> None:
    source = random.Random(5)
    for _ in range(30):
        page = "".join(source.choices(PIECES[:30], k=2000)).encode()
        assert prescan(page, 500) == twin(page, 500)


@pytest.mark.parametrize(
    "piece",
    ["<div>", '<a b="', "<!--", "<!-->", "<script>", "<script></scrip", "<", "<ul><li>", "<b></i>", "<p>a", "</x>"],
)
def test_hostile_pages_end(piece: str) -> None:
    shape = prescan(piece.encode() * MANY, 1000)
    assert shape.elements <= 2 * MANY
    assert len(shape.text) <= 1000


def test_hostile_shapes_are_seen() -> None:
    assert prescan(b"<div>" * MANY).depth == MANY
    assert prescan(b"<b></i>" * MANY).depth > 2000
    assert prescan(b"<option>a" * MANY).elements == MANY
    assert prescan(b"<a " + b"x=1 " * MANY + b">").attributes == MANY
