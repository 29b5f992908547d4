"""The kernel of C4's lines against its readable twin."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tests.text import twin
from tests.text.strategies import TEXTS
from tests.text.test_measure import EDGES
from tokenmill.filters.c4 import C4Lines

SETTINGS = st.fixed_dictionaries(
    {
        "max_word_length": st.sampled_from([None, 0, 3, 1000]),
        "remove_citations": st.booleans(),
        "terminal_punctuation": st.booleans(),
        "min_words": st.sampled_from([None, 0, 2, 3]),
        "remove_javascript": st.booleans(),
        "remove_policies": st.booleans(),
    }
)
DEFAULT = C4Lines().config()


def lines(texts: list[str], config: dict[str, object]) -> list[dict[str, object]]:
    batch = pa.RecordBatch.from_pydict({"text": pa.array(texts, pa.string())})
    columns = {name: column.to_pylist() for name, column in C4Lines(**config).rewrite_batch(batch).items()}  # type: ignore[arg-type]
    return [{name: values[i] for name, values in columns.items()} for i in range(len(texts))]


@examples(100, 400)
@given(st.lists(TEXTS, min_size=1, max_size=4), SETTINGS)
def test_equals_the_twin(texts: list[str], config: dict[str, object]) -> None:
    for text, found in zip(texts, lines(texts, config), strict=True):
        assert found == twin.c4_lines(text, **config)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", EDGES.values(), ids=EDGES.keys())
def test_edges_equal_the_twin(text: str) -> None:
    for config in (DEFAULT, {**DEFAULT, "terminal_punctuation": False}):
        assert lines([text], config)[0] == twin.c4_lines(text, **config)  # type: ignore[arg-type]


def test_bytes_that_are_no_utf8_become_valid() -> None:
    data = b"\xff\xfe\xfd is no text. " * 50
    buffers = [None, pa.py_buffer(b"\x00\x00\x00\x00" + len(data).to_bytes(4, "little")), pa.py_buffer(data)]
    batch = pa.RecordBatch.from_arrays([pa.Array.from_buffers(pa.string(), 1, buffers)], ["text"])
    text = C4Lines().rewrite_batch(batch)["text"]
    text.validate(full=True)
    assert text[0].as_py() == ("\ufffd" * 3 + " is no text. ").rstrip(" ") + (" " + "\ufffd" * 3 + " is no text.") * 49
