from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rephrase.checks.pairs import PAGE, PARAPHRASE, reason, style, value
from tokenmill.rephrase.checks.dates import Date, dates_of
from tokenmill.rephrase.checks.facts import facts_of
from tokenmill.rephrase.checks.names import names_of
from tokenmill.rephrase.checks.numbers import canonical, numbers_of
from tokenmill.rephrase.checks.said import said_in


@pytest.mark.parametrize(
    ("digits", "expected"),
    [
        ("7", "7"),
        ("007", "7"),
        ("1,234,567", "1234567"),
        ("1.234.567", "1234567"),
        ("1'234'567", "1234567"),
        ("1 234 567", "1234567"),
        ("1,234.50", "1234.5"),
        ("1.234,50", "1234.5"),
        ("3.14", "3.14"),
        ("3,14", "3.14"),
        ("12.0", "12"),
        ("0.125", "0.125"),
        ("1.2.3", "1.2.3"),
        ("192.168.0.1", "192.168.0.1"),
        ("٣٥", "35"),
        ("１２３", "123"),
        ("00", "0"),
    ],
)
def test_canonical(digits: str, expected: str) -> None:
    assert canonical(digits) == expected


@pytest.mark.parametrize(
    ("output", "source", "invented"),
    [
        ("It cost 12500 pounds.", "It cost 12,500 pounds.", 0),
        ("It cost 12.500 Pfund.", "It cost 12,500 pounds.", 0),
        ("It cost 12,600 pounds.", "It cost 12,500 pounds.", 1),
        ("It has 1.2 million people.", "It has 1,200,000 people.", 0),
        ("It has 1200000 people.", "Sie hat 1,2 Millionen Einwohner.", 0),
        ("It has 1.2 billion people.", "It has 1.2 million people.", 1),
        ("It has 5k members.", "It has 5,000 members.", 0),
        ("It has 12 boats.", "It has twelve boats.", 0),
        ("Es sind 12 Boote.", "Es sind zwölf Boote.", 0),
        ("There are 21 boats.", "There are twenty-one boats.", 0),
        ("There are 22 boats.", "There are twenty-one boats.", 1),
        ("200 people sat there.", "Two hundred people sat there.", 0),
        ("1,250 people sat there.", "One thousand two hundred and fifty people sat there.", 0),
        ("Es sind 250 Boote, davon 21 rote.", "Zweihundertfünfzig Boote, davon einundzwanzig rote.", 0),
        ("Es sind 251 Boote.", "Es sind zweihundertfünfzig Boote.", 1),
        ("Près de 1 200 habitants.", "Environ mille deux cents habitants.", 0),
        ("Hay 35 barcos y 1.500 vecinos.", "Hay treinta y cinco barcos y mil quinientos vecinos.", 0),
        ("Une église du 12e siècle.", "Une église du XIIe siècle.", 0),
        ("It rose by 20 percent.", "It rose by a fifth.", 0),
        ("It lost 25% of it, and 66.7% of the rest.", "It lost a quarter of it, and two thirds of the rest.", 0),
        ("Doors open at 6:30.", "Doors open at half past six.", 0),
        ("Doors open at 6:40.", "Doors open at half past six.", 1),
        ("**Step 1:** go\n**Step 2:** stay", "Go and stay.", 0),
        ("## Step 1 - Go\n### Step 2\nStay.", "Go and stay.", 0),
        ("**1.** Go\n**2.** Stay", "Go and stay.", 0),
        ("1835 - that was the year", "Long ago.", 1),
        ("12 boats came.", "Boats came.", 1),
        ("The 3rd harbour.", "The third harbour.", 0),
        ("In the 1990s.", "In the 1990s.", 0),
        ("1. First\n2. Second\n3) Third", "First, second, third.", 0),
        ("Question 7: When?\nAnswer: then", "then", 0),
        ("Built on March 12, 2021.", "Built on 2021-03-12.", 0),
        ("Built on 2021-03-12.", "Built on 12 March 2021.", 0),
        ("In 2020 300 people came.", "300 people came in 2020.", 0),
        ("人口は1万2千人。", "人口は10,000人。", 0),
        ("No numbers at all.", "It has 12 boats.", 0),
    ],
)
def test_numbers_invented(output: str, source: str, invented: int) -> None:
    assert facts_of(output).numbers.missing_in(facts_of(source).numbers) == invented


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("They are 1, 2 and 3 of the 4 boats.", 0.0),
        ("They are 1, 2 and 3 of the 9 boats.", 0.0),  # fewer than three
        ("They are 1, 2, 8 and 9.", 0.0),
        ("They are 1, 7, 8 and 9.", 0.75),
        ("There are 9 boats.", 0.0),
        ("There are boats.", None),
    ],
)
def test_share_of_invented_numbers(output: str, expected: float | None) -> None:
    found = value("numbers_invented", "They are 1, 2, 3 and 4.", output)
    assert found == (None if expected is None else pytest.approx(expected))


def test_kept_numbers() -> None:
    assert value("numbers_kept", PAGE, PARAPHRASE) == 1.0
    assert value("numbers_kept", "There are 1, 2, 3 and 4.", "There are 1, 2 and three.") == pytest.approx(0.75)
    assert value("numbers_kept", "None here.", "There are 9.") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("on 2021-03-12.", Date(2021, 3, 12)),
        ("on 12.3.2021 at noon", Date(2021, 12, 3, 3)),
        ("on 25.3.2021", Date(2021, 3, 25)),
        ("on 03/25/2021", Date(2021, 3, 25)),
        ("on March 12, 2021.", Date(2021, 3, 12)),
        ("on 12th of March 2021", Date(2021, 3, 12)),
        ("am 12. März 2021", Date(2021, 3, 12)),
        ("le 1er mai 1999", Date(1999, 5, 1)),
        ("el 12 de marzo de 2021", Date(2021, 3, 12)),
        ("12 марта 2021 года", Date(2021, 3, 12)),
        ("2021年3月12日", Date(2021, 3, 12)),
        ("2021년 3월 12일", Date(2021, 3, 12)),
        ("on March 12", Date(0, 3, 12)),
        ("in March 2021", Date(2021, 3, 0)),
        ("2021年3月", Date(2021, 3, 0)),
        ("in 2021", None),
        ("you may 5 times", Date(0, 5, 5)),  # not told from a date; the same on both sides
        ("version 1.2.3", None),
        ("on 2021-13-12", None),
        ("in March", None),
    ],
)
def test_dates(text: str, expected: Date | None) -> None:
    assert dates_of(text) == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("source", "output", "invented"),
    [
        ("on 12 March 2021", "on March 12, 2021", 0.0),
        ("on 03/04/2021", "on 3 April 2021", 0.0),
        ("on 03/04/2021", "on March 4, 2021", 0.0),
        ("on 03/04/2021", "on March 5, 2021", 1 / 3),
        ("on 12 March 2021", "on March 12", 0.0),
        ("on 12 March", "on 12 March 2021", 0.0),  # the year is a number, and counted there
        ("on 12 March 2021", "on 13 March 2021", 1 / 3),
        ("on 12 March 2021", "in March 2021", 0.0),
        ("on 12 March 2021", "some day", None),
    ],
)
def test_dates_invented(source: str, output: str, invented: float | None) -> None:
    found = value("dates_invented", source, output)
    assert found == (None if invented is None else pytest.approx(invented))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("He met Ada Lovelace in London.", [("ada", "lovelace"), ("london",)]),
        ("London is large. Paris too.", []),  # capitals at the beginning of sentences
        ("Ada Lovelace was a mathematician.", [("lovelace",)]),
        ("They went to Whitby's harbour on Monday in March.", [("whitby",)]),
        ("- Item one\n* Another\n1) More", []),
        ("He lives in São Paulo near the Église Saint-Pierre.", [("são", "paulo"), ("église", "saint-pierre")]),
        ("Он живёт в Москве и любит Анну Ахматову.", [("москве",), ("анну", "ахматову")]),
        ("I said that I'm here, and I saw it.", []),
        ("灯台の高さは二十五メートル。", []),
    ],
)
def test_names(text: str, expected: list[tuple[str, ...]]) -> None:
    assert list(names_of(text).each) == expected


@pytest.mark.parametrize(
    ("source", "output", "invented"),
    [
        ("We met Ada Lovelace there once.", "Once we met Lovelace there.", 0.0),
        ("We met Ada Lovelace there once.", "Once we met Grace Hopper in New York and Bob.", 1.0),
        ("We met ada lovelace there once.", "Once we met Ada there.", 0.0),
        ("It belongs to the United Nations now.", "It now belongs to the UN.", 0.0),
        ("It belongs to the UN now.", "It now belongs to the United Nations.", 0.0),
        ("Мы были в Москве летом прошлого года.", "Летом прошлого года мы ездили в Москву.", 0.0),
        ("We met Ada there.", "we met nobody there.", None),
        ("WE MET ADA LOVELACE THERE ONCE.", "We met Bob there.", None),  # capitals say nothing
    ],
)
def test_names_invented(source: str, output: str, invented: float | None) -> None:
    found = value("names_invented", source, output)
    assert found == (None if invented is None else pytest.approx(invented))


def test_names_are_not_measured_where_nouns_have_capitals() -> None:
    german = "Der Hafen von Whitby wurde zwischen 1835 und 1847 für viele Pfund vergrößert, und viele Boote kamen."
    assert value("names_invented", german, german) is None
    assert value("names_kept", PAGE, PAGE) == 1.0


INVENTED = (
    PARAPHRASE.replace("1835", "1812")
    .replace("1847", "1862")
    .replace("12,500", "99,000")
    .replace("about 300", "about 450")
)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (PARAPHRASE, None),
        (INVENTED, "numbers_invented"),
        (PARAPHRASE + " It opened on 3 May 1835, on 4 June 1836 and on 5 July 1847.", "numbers_invented"),
        (PARAPHRASE + " They were led by Robert Stevenson, by Thomas Telford and by John Rennie.", "names_invented"),
    ],
)
def test_inventions_reject(output: str, expected: str | None) -> None:
    assert reason(PAGE, output) == expected


def test_invented_dates_and_lost_facts_reject() -> None:
    page = PAGE + " It was opened on 3 May 1847, and again on 3 June 1848 and 5 July 1848."
    output = PARAPHRASE + " It was opened on 5 May 1848, and again on 3 July 1847 and 3 July 1848."
    assert reason(page, output) == "dates_invented"
    dropped = (
        "The harbour was made larger long ago with local stone, and once it had a lot of boats. Few are left of them, "
        "and those who come by now do so for a look at it, not for herring."
    )
    checks = {"numbers_kept": {"min": 0.5}, "names_kept": {"min": 0.5}}
    assert reason(PAGE, dropped, style=style(checks=checks)) == "numbers_lost"
    assert reason(PAGE, dropped, style=style(checks=checks | {"numbers_kept": None})) == "names_lost"
    assert reason(page, PARAPHRASE, style=style(checks={"dates_kept": {"min": 0.5}})) == "dates_lost"


TEXT = st.text(st.sampled_from("aB1 ,.-'’/:\n年月日kM٣㊀ß%$March mai"), max_size=60)


@given(TEXT)
@settings(max_examples=80, deadline=None)
def test_a_text_keeps_its_own_facts_and_invents_none(text: str) -> None:
    facts = facts_of(text)
    assert facts.numbers.missing_in(facts.numbers) == 0
    assert all(any(date.agrees(other) for other in facts.dates) for date in facts.dates)
    assert all(facts.names.has_all(name) and facts.names.has_part(name) for name in facts.names.each)


@given(st.integers(0, 10**12), st.sampled_from([",", ".", "'", "’", " ", "\u00a0", "\u202f"]))
@settings(max_examples=30, deadline=None)
def test_separators_of_thousands_make_no_difference(number: int, separator: str) -> None:
    spelled = f"{number:,}".replace(",", separator)
    numbers = numbers_of(f"there are {spelled} of them")
    assert numbers.each == numbers_of(f"there are {number} of them").each


@given(
    st.lists(
        st.sampled_from("two hundred and einundzwanzig mille XIV half 3/0 ½ 3/4 quatre vingts - mil".split()),
        max_size=30,
    )
)
@settings(max_examples=30, deadline=None)
def test_said_numbers_are_spelled_as_digits_are(words: list[str]) -> None:
    found = said_in(" ".join(words))
    assert all(canonical(value) == value or "." in value for value in found)
    assert found >= said_in(" ".join(words[:1]))
