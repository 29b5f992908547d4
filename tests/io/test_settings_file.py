"""Settings files: what YAML gives, and messages that name the place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tokenmill.core.errors import ConfigError
from tokenmill.io.settings_file import (
    Place,
    amount_at,
    check_keys,
    mapping_at,
    name_at,
    number_at,
    path_at,
    read_yaml,
    text_at,
    whole_at,
)

PLACE = Place("a.yaml", Path("/folder"), guide="see the guide").at("arms").at("raw")


def test_places_are_paths_of_keys() -> None:
    error = PLACE.at("set").error("wrong", why="because")
    assert (error.what, error.where, error.why, error.fix) == (
        "wrong",
        "a.yaml: arms.raw.set",
        "because",
        "see the guide",
    )
    assert Place("a.yaml", Path()).error("wrong", fix="do this").fix == "do this"
    assert Place("a.yaml", Path()).error("wrong").where == "a.yaml"


def test_values_that_fit_are_given_back() -> None:
    assert mapping_at({"a": 1}, PLACE) == {"a": 1}
    assert (name_at("a-1_b", PLACE), text_at(" x", PLACE), whole_at(-3, PLACE)) == ("a-1_b", " x", -3)
    assert (amount_at("2.5k", PLACE), number_at(0.5, PLACE, "a share", lambda n: n < 1)) == (2500, 0.5)
    assert [path_at(p, PLACE) for p in ("x/y", "/x", "s3://b/x")] == ["/folder/x/y", "/x", "s3://b/x"]
    check_keys({"a": 1, "b": 2}, ("a", "b", "c"), ("a",), PLACE)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mapping_at([1], PLACE), "is no mapping"),
        (lambda: check_keys({"nmae": 1}, ("name",), (), PLACE), "did you mean 'name'"),
        (lambda: check_keys({}, ("name",), ("name",), PLACE), "'name' is missing"),
        (lambda: name_at("a b", PLACE), "'a b' is no name"),
        (lambda: name_at(3, PLACE), "3 is no name"),
        (lambda: text_at("", PLACE), "'' is no text"),
        (lambda: whole_at(True, PLACE), "True is no whole number"),
        (lambda: amount_at("many", PLACE, "a number of seeds"), "'many' is not a number of seeds"),
        (lambda: number_at(float("nan"), PLACE, "a share", lambda n: True), "nan is not a share"),
        (lambda: number_at(2, PLACE, "a share", lambda n: n < 1), "2 is not a share"),
    ],
)
def test_values_that_do_not_fit_name_their_place(call: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        call()
    assert caught.value.where == "a.yaml: arms.raw"


def test_keys_that_are_given_twice_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: 1\nb: {c: 1}\n")
    assert read_yaml(path, "ablation") == {"a": 1, "b": {"c": 1}}
    path.write_text("a: 1\nb:\n  c: 1\n  c: 2\n")
    with pytest.raises(ConfigError, match=r"'c' is given twice[\s\S]*line 4"):
        read_yaml(path, "ablation")
    for text in ("a: [", "\x00"):
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"the ablation .* cannot be read"):
            read_yaml(path, "ablation")
    with pytest.raises(ConfigError, match=r"the mixture .* cannot be read"):
        read_yaml(tmp_path / "none.yaml", "mixture")
