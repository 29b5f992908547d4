"""Redaction of personal data and secrets."""

from __future__ import annotations

import ipaddress
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.executors.support import rows, run
from tests.text.test_pii import PIECES
from tokenmill.core.doc import Doc
from tokenmill.core.errors import ConfigError
from tokenmill.core.pipeline import Pipeline, load_file
from tokenmill.core.plan import make_plan
from tokenmill.core.rule import Drop
from tokenmill.core.settings import build_stage
from tokenmill.filters.pii import RedactPii
from tokenmill.text.pii import PHONE, find_pii
from tokenmill.text.pii.tokens import TOKENS

EXAMPLES = {"email@example.com", "firstname.lastname@example.org"}
DOCUMENTATION = [
    ipaddress.ip_network(net) for net in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
]
RECIPES = str(Path(__file__).resolve().parents[1] / "data" / "pii" / "fail_recipe.py")
ONE_OF_EACH = (
    "joe@corp.com 8.8.8.8 Visa 4111 1111 1111 1111, IBAN DE89370400440532013000; AKIA"
    + "QRSTUVWX23456789, SSN 219-09-8888"
)
STANDARD = ("pii_emails", "pii_ips", "pii_cards", "pii_ibans", "pii_keys", "pii_ssns")


def recipe(name: str) -> Pipeline:
    found: Pipeline = getattr(load_file(RECIPES), name)
    return found


def redact(text: str, page: dict[str, str] | None = None, **settings: Any) -> dict[str, Any]:
    """What the stage returns, with the text in any case."""
    changes = RedactPii(**settings).rewrite(Doc(text=text, id="a", **(page or {})))
    assert not isinstance(changes, Drop)
    return {"text": text, **changes}


def test_email_becomes_an_address_for_examples() -> None:
    changes = redact("Write to joe@corp.co.uk, please.")
    match = re.fullmatch(r"Write to (\S+), please\.", changes["text"])
    assert match
    assert match[1] in EXAMPLES
    assert changes["pii_emails"] == 1
    assert changes["pii_ips"] == 0


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888"])
def test_ip_becomes_an_address_for_documentation(address: str) -> None:
    changes = redact(f"ping {address}!")
    match = re.fullmatch(r"ping (\S+)!", changes["text"])
    assert match
    assert any(ipaddress.ip_address(match[1]) in network for network in DOCUMENTATION)
    assert changes["pii_ips"] == 1


def test_everything_else_becomes_a_token() -> None:
    text = redact(ONE_OF_EACH)["text"]
    assert text.endswith(" Visa <CREDIT_CARD>, IBAN <IBAN>; <SECRET_KEY>, SSN <SSN>")
    assert redact("call +1 212-555-0123", level="strict")["text"] == "call <PHONE_NUMBER>"


def test_counts_by_kind() -> None:
    changes = redact(ONE_OF_EACH)
    assert {name: value for name, value in changes.items() if name != "text"} == dict.fromkeys(STANDARD, 1)


def test_nothing_to_redact_returns_no_text() -> None:
    changes = RedactPii().rewrite(Doc(text="plain 192.168.0.1 v1.2.3.4 a@example.com"))
    assert changes == dict.fromkeys(STANDARD, 0)


@pytest.mark.parametrize("column", STANDARD)
def test_a_kind_that_is_off_is_neither_replaced_nor_counted(column: str) -> None:
    setting = column.removeprefix("pii_")
    stage = RedactPii(**{setting: False})  # type: ignore[arg-type]
    assert column not in stage.columns_added()
    whole, less = redact(ONE_OF_EACH), redact(ONE_OF_EACH, **{setting: False})
    assert column not in less
    assert {name: less[name] for name in STANDARD if name != column} == dict.fromkeys(set(STANDARD) - {column}, 1)
    assert less["text"] != whole["text"]


def test_telephone_numbers_are_for_level_strict() -> None:
    text = "call +1 212-555-0123"
    assert redact(text) == {"text": text, **dict.fromkeys(STANDARD, 0)}
    assert redact(text, level="strict")["pii_phones"] == 1
    assert "pii_phones" not in redact(text, level="strict", phones=False)
    assert list(RedactPii(level="strict").columns_added()) == [*STANDARD, "pii_phones"]


@pytest.mark.parametrize(
    ("url", "language", "found"),
    [
        ("https://a.de/x", "en", True),
        ("https://a.com/x", "de", True),
        ("https://a.com/x", "ja", False),
        ("https://a.fr/x", "de", False),
        ("", "", False),
    ],
)
def test_national_numbers_need_the_country_of_the_page(url: str, language: str, found: bool) -> None:
    changes = redact("Tel.: 030 23125 123", page={"url": url, "language": language}, level="strict")
    assert changes["pii_phones"] == found


def test_replacement_depends_on_document_and_place_only() -> None:
    text = " ".join(f"u{i}@b.com ip 8.8.8.{i}" for i in range(1, 60))

    def by(**columns: str) -> str:
        changes = RedactPii().rewrite(Doc(text=text, **columns))
        assert not isinstance(changes, Drop)
        new: str = changes["text"]
        return new

    assert by(doc_id="f#1", id="x") == by(doc_id="f#1", id="y")
    assert by(doc_id="f#1") != by(doc_id="f#2")
    assert by(id="1") == by(id="1") != by(id="2")
    assert by() == by()
    assert set(re.findall(r"\S+@\S+", by(id="1"))) == EXAMPLES
    assert len(set(re.findall(r"[\d.]+\d", by(id="1")))) > 20


@pytest.mark.parametrize(("limit", "kept"), [(None, True), (3, True), (2, False), (0, False)])
def test_max_spans(limit: int | None, kept: bool) -> None:
    outcome = RedactPii(max_spans=limit).rewrite(Doc(text="a@b.com c@b.com d@b.com"))
    assert (not isinstance(outcome, Drop)) == kept
    if not kept:
        assert outcome == Drop("too_many_pii", "pii_spans", 3.0, float(limit or 0))


@pytest.mark.parametrize(("limit", "kept"), [(None, True), (0.5, True), (0.49, False)])
def test_max_share(limit: float | None, kept: bool) -> None:
    outcome = RedactPii(max_share=limit).rewrite(Doc(text="ab@cd.com 23456789"))
    assert (not isinstance(outcome, Drop)) == kept
    if not kept:
        assert outcome == Drop("too_much_pii", "pii_share", 0.5, limit)


def test_texts_without_personal_data_are_kept_at_limits_of_zero() -> None:
    assert not isinstance(RedactPii(max_spans=0, max_share=0.0).rewrite(Doc(text="")), Drop)


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="level"):
        RedactPii(level="sternly")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="level"):
        build_stage(RedactPii, {"level": "sternly"})
    assert build_stage(RedactPii, {"level": "strict", "max_spans": 5}) == RedactPii(level="strict", max_spans=5)


def test_versions_of_libraries_are_digests() -> None:
    assert list(RedactPii().digests()) == ["google-re2"]
    assert list(RedactPii(level="strict").digests()) == ["google-re2", "phonenumbers"]
    assert list(RedactPii(level="strict", phones=False).digests()) == ["google-re2"]


def test_strict_without_its_library_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "phonenumbers", None)
    with pytest.raises(ConfigError) as caught:
        make_plan(recipe("strict"), [])
    assert "pip install 'tokenmill[phones]'" in caught.value.fix
    with pytest.raises(ConfigError):
        RedactPii(level="strict").setup()
    RedactPii().setup()


@pytest.mark.ci
def test_a_document_on_which_redaction_fails_goes_to_quarantine(
    tmp_path: Path, write_jsonl: Callable[..., Path]
) -> None:
    texts = ["joe@corp.com", "raise joe@corp.com", "spin joe@corp.com", "sleep joe@corp.com", "ann@corp.com"]
    outcome = run(recipe("failing"), write_jsonl(texts), tmp_path / "out", workers=1)
    assert outcome.failures == {}
    causes = {row["doc_id"]: row["cause"] for row in rows(tmp_path / "out", "quarantine")}
    assert causes == {"a.jsonl#1": "RuntimeError", "a.jsonl#2": "timeout", "a.jsonl#3": "timeout"}
    assert [row["text"] in EXAMPLES for row in rows(tmp_path / "out", "data")] == [True, True]


@pytest.mark.parametrize(
    "text",
    [
        "a@b.com@c.org",
        "a@b.com@c.org@d.net",
        "8.8.8.8.example a@8.8.8.8",
        "4111 1111 1111 1111 4111 1111 1111 1111",
        "email@example.com@c.org",
        "+1 212-555-0123 4111 1111 1111 1111",
        "a@b.coma@b.com",
        "8.8.8.8,8.8.8.8 +49 30 23125 123/+49 30 23125 124",
    ],
)
def test_redacting_what_is_redacted_changes_nothing(text: str) -> None:
    once = redact(text, level="strict")["text"]
    assert redact(once, level="strict")["text"] == once


AMERICAN = {"url": "https://a.com/", "language": "en"}


@pytest.mark.parametrize(
    ("start", "between"),
    [
        *(("Phone numbers of our shops:\n", between) for between in ("\n", "\r\n", "\n\n", " / ", ", ", " • ", " - ")),
        ("Phone numbers of our shops:\n- ", "\n- "),
        ("Phone numbers of our shops:\n• ", "\n • "),
        ("Phone numbers of our shops:\n* ", ",\n\n  * "),
        ("Phone numbers of our shops: ", " and "),
    ],
)
@pytest.mark.parametrize("form", ["(212) 736-50{:02}", "212-736-50{:02}", "212 736 50{:02}", "21273650{:02}"])
def test_a_list_of_telephone_numbers_after_one_word(start: str, between: str, form: str) -> None:
    text = start + between.join(map(form.format, range(1, 61))) + "\nThanks"
    assert len(find_pii(text, [PHONE], ("US",))) == 60  # at once, not in a pass each
    changes = redact(text, page=AMERICAN, level="strict")
    assert changes["text"] == start + between.join(["<PHONE_NUMBER>"] * 60) + "\nThanks"
    assert changes["pii_phones"] == 60


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        (
            "4012 8888 8888 1881\nOrder number 5555555555554444 here",
            "<CREDIT_CARD>\nOrder number 5555555555554444 here",
        ),
        (
            "SSN 219-09-8888" + " " * 55 + "219-09-8889" + " " * 55 + "219-09-8890",
            "SSN <SSN>" + " " * 55 + "219-09-8889" + " " * 55 + "219-09-8890",
        ),
        (
            "IBAN DE89370400440532013000. Parts 219-09-8888 and 219-09-8889",
            "IBAN <IBAN>. Parts 219-09-8888 and 219-09-8889",
        ),
        ("+1 212-736-5001 and then\nid (212) 736-5002", "<PHONE_NUMBER> and then\nid (212) 736-5002"),
        ("+1 212-736-5001: see 212-736-5002", "<PHONE_NUMBER>: see 212-736-5002"),
    ],
)
def test_tokens_name_nothing(text: str, redacted: str) -> None:
    assert redact(text, page=AMERICAN, level="strict")["text"] == redacted
    assert redact(redacted, page=AMERICAN, level="strict")["text"] == redacted


@pytest.mark.parametrize("token", TOKENS.values())
@pytest.mark.parametrize("number", ["(212) 736-5001", "219-09-8888", "order 4111111111111111", "30569309025904"])
def test_no_token_is_a_word_for_a_number(token: str, number: str) -> None:
    for text in (f"{token} {number}", f"{number} {token}", f"{token}\n{token}: {number}"):
        assert redact(text, page=AMERICAN, level="strict")["text"] == text


def test_words_beside_a_token_count() -> None:
    text = "phone <PHONE_NUMBER> 212-736-5001, <SSN>SSN 219-09-8888"
    assert redact(text, page=AMERICAN, level="strict")["text"] == "phone <PHONE_NUMBER> <PHONE_NUMBER>, <SSN>SSN <SSN>"


@given(st.one_of(st.text(), st.lists(st.sampled_from([*PIECES, *TOKENS.values()])).map("".join)))
def test_never_raises_and_is_done_after_one_pass(text: str) -> None:
    page = {"url": "https://a.com/", "language": "en"}
    changes = redact(text, page=page, level="strict")
    again = redact(changes["text"], page=page, level="strict")
    assert again == {**dict.fromkeys(again, 0), "text": changes["text"]}
    counted = sum(value for name, value in changes.items() if name != "text")
    assert (changes["text"] == text) == (counted == 0)
