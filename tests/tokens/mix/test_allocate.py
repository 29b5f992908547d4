from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tokenmill.core.errors import ConfigError
from tokenmill.tokens.mix.allocate import allocate, apportion, upweighted
from tokenmill.tokens.mix.select import Atom
from tokenmill.tokens.mix.spec import MixtureStage, Upweight

WEIGHTS = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3), st.fractions(0, 10, max_denominator=1000), min_size=1
)


@examples(20, 50)
@given(st.integers(0, 10**14), WEIGHTS.filter(lambda weights: any(weights.values())))
def test_shares_add_up_and_are_rounded_by_less_than_one(total: int, weights: dict[str, Fraction]) -> None:
    found = apportion(total, weights)
    assert sum(found.values()) == total
    whole = sum(weights.values())
    for key, tokens in found.items():
        assert abs(tokens - total * weights[key] / whole) < 1
        assert tokens == 0 or weights[key] > 0


@examples(20, 50)
@given(st.integers(1, 10**6), st.integers(1, 50), WEIGHTS.filter(lambda weights: any(weights.values())))
def test_only_proportions_matter(total: int, factor: int, weights: dict[str, Fraction]) -> None:
    assert apportion(total, weights) == apportion(total, {key: weight * factor for key, weight in weights.items()})


def test_weights_of_nothing() -> None:
    with pytest.raises(ValueError):
        apportion(3, {"a": 0})


def test_weights_are_what_was_written_and_not_the_nearest_double() -> None:
    stage = MixtureStage("one", 10**15, {"a": 0.1, "b": 0.2, "c": 0.7})
    found = allocate(stage, {Atom("a"): 5, Atom("b"): 5, Atom("c"): 5})
    assert list(found.values()) == [10**14, 2 * 10**14, 7 * 10**14]


SOFTWARE, SPORT, REST = (Atom("web", (("topic", value),)) for value in ("software", "sport", None))


@given(st.integers(1, 10**9), st.integers(0, 100), st.integers(0, 100), st.integers(1, 1000))
def test_upweighted_values_get_their_share_and_the_rest_keeps_its_proportions(
    total: int, percent: int, other: int, tokens: int
) -> None:
    shares = {"software": percent / 100}
    parts = {Atom("web", (("topic", v), ("language", w))): tokens * n for n, (v, w) in enumerate(_PAIRS, 1)}
    stage = MixtureStage("one", total, {"web": 1}, upweight={"web": Upweight("topic", to=shares)})
    found = allocate(stage, {**parts, Atom("code"): other})
    software = sum(count for atom, count in found.items() if ("topic", "software") in atom.values)
    assert sum(found.values()) == total
    assert abs(software - total * Fraction(percent, 100)) < 1
    assert found[Atom("code")] == 0
    rest = {atom: count for atom, count in found.items() if ("topic", None) in atom.values}
    for atom, count in rest.items():
        assert abs(count - (total - software) * Fraction(parts[atom], sum(parts[a] for a in rest))) < 1


_PAIRS = [("software", "de"), ("software", None), (None, "de"), (None, None)]


def test_factors_are_on_the_natural_share() -> None:
    stage = MixtureStage("one", 1000, {"web": 1}, upweight={"web": Upweight("topic", times={"software": 10})})
    found = allocate(stage, {SOFTWARE: 5, SPORT: 15, REST: 80})
    assert found == {SOFTWARE: 500, SPORT: 79, REST: 421}
    assert found[SPORT] + found[REST] == 500


def test_factors_that_ask_for_more_than_everything() -> None:
    with pytest.raises(ConfigError, match=r"ask for 125\.00% of the source") as error:
        upweighted(Upweight("topic", times={"software": 25}), {"software": 5, None: 95}, "here")
    assert "software has 5.00%" in str(error.value)


def test_a_stage_that_wants_of_what_is_empty() -> None:
    stage = MixtureStage("one", 1000, {"web": 1}, upweight={"web": Upweight("topic", to={"software": 0.5})})
    with pytest.raises(ConfigError, match=r"stage one takes 500 tokens of web\[topic=software\]"):
        allocate(stage, {SOFTWARE: 0, SPORT: 15, REST: 80})
    with pytest.raises(ConfigError, match="nothing to take"):
        allocate(MixtureStage("one", 10, {"web": 1}), {Atom("web"): 0})
    assert allocate(MixtureStage("one", 10, {"web": 1, "code": 0}), {Atom("web"): 3, Atom("code"): 0}) == {
        Atom("web"): 10,
        Atom("code"): 0,
    }
