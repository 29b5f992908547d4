from __future__ import annotations

import pytest

from tests.rephrase.checks.pairs import PAGE, PARAPHRASE, reason, style, value
from tokenmill.rephrase.checks.language import same_language, short_code

TEXTS = {
    "en": PAGE,
    "de": "Der Hafen von Whitby wurde zwischen 1835 und 1847 für 12.500 Pfund vergrößert; zwei Molen schützen ihn.",
    "fr": "Le port de Whitby fut agrandi entre 1835 et 1847 pour 12 500 livres. Deux jetées le protègent de la houle.",
    "ru": "Гавань Уитби была расширена между 1835 и 1847 годами за 12 500 фунтов. Два мола защищают её от волн.",
    "el": "Το λιμάνι του Γουίτμπι επεκτάθηκε μεταξύ 1835 και 1847 για 12.500 λίρες. Δύο προβλήτες το προστατεύουν.",
    "zh": "惠特比港于1835年至1847年间扩建，耗资一万二千五百英镑。两道石堤阻挡海浪，西堤上的灯塔高二十五米。",
    "ja": "ウィットビーの港は1835年から1847年にかけて拡張された。灯台の高さは二十五メートルである。",
    "ko": "휘트비 항구는 1835년에서 1847년 사이에 확장되었다. 방파제가 파도를 막아 주고 등대의 높이는 이십오 미터이다.",
    "ar": "تم توسيع ميناء ويتبي بين عامي 1835 و1847 بتكلفة 12500 جنيه. يحمي رصيفان حجريان الميناء من الأمواج العالية.",
    "hi": "व्हिटबी के बंदरगाह का विस्तार 1835 और 1847 के बीच हुआ था। पत्थर के दो घाट इसे समुद्र की लहरों से बचाते हैं।",
    "th": "ท่าเรือวิตบีได้รับการขยายระหว่างปี 1835 ถึง 1847 เขื่อนหินสองแห่งช่วยกันคลื่นลมจากทะเลและประภาคารสูงยี่สิบห้าเมตร",
}


@pytest.mark.parametrize("one", TEXTS)
def test_a_text_has_the_language_of_its_translation_only_where_it_is_the_same(one: str) -> None:
    for other in TEXTS:
        assert value("language_same", TEXTS[one], TEXTS[other]) is (one == other), (one, other)


@pytest.mark.parametrize(
    ("source", "output", "share"),
    [
        (PAGE, PARAPHRASE, 1.0),
        (PAGE, TEXTS["ru"], 0.0),
        (TEXTS["ja"], TEXTS["ja"], 1.0),
        (TEXTS["zh"] + PAGE, PAGE, 1.0),
        (PAGE + " 港", TEXTS["zh"], 0.0),  # one word in another script is not the page's own script
        ("Short text.", TEXTS["ru"], None),
        (PAGE, "1835-1847", None),
        (PAGE, "a" * 8 + "я" * 8, 0.5),
        (PAGE, "𠀀" * 20, 0.0),
        (PAGE, "😀" * 20, None),
    ],
)
def test_script_share(source: str, output: str, share: float | None) -> None:
    assert value("script_share", source, output) == share


def test_other_language_and_script_reject() -> None:
    checks = {"length_ratio": None}
    assert reason(PAGE, TEXTS["de"], style=style(checks=checks)) == "other_language"
    assert reason(PAGE, TEXTS["de"], style=style(checks=checks | {"language": None})) is None
    assert reason(PAGE, TEXTS["de"], style=style(checks=checks | {"language": "en"})) == "wrong_language"
    assert reason(PAGE, PARAPHRASE, style=style(checks={"language": ["de", "en"]})) is None
    assert reason(PAGE, TEXTS["el"], style=style(checks=checks | {"language": None})) == "other_script"


def test_short_outputs_are_not_judged() -> None:
    assert value("language_same", PAGE, "Der Hafen") is None
    assert value("language_same", "Hi!", PAGE) is None


@pytest.mark.parametrize(
    ("given", "output", "same"),
    [
        ("en", PARAPHRASE, True),
        ("eng_Latn", PARAPHRASE, True),
        ("de", PARAPHRASE, True),
        ("xx", PARAPHRASE, True),
        ("de", TEXTS["fr"], False),
    ],
)
def test_the_language_of_a_column_is_believed_only_with_the_text(given: str, output: str, same: bool) -> None:
    """A wrong label must not cost an output; a second opinion is cheap."""
    assert value("language_same", PAGE, output, source_language=given) is same


@pytest.mark.parametrize(
    ("code", "expected"),
    [("en", "en"), ("EN-gb", "en"), ("eng", "en"), ("deu_Latn", "de"), ("", None), (None, None), ("unknown", None)],
)
def test_short_code(code: str | None, expected: str | None) -> None:
    assert short_code(code) == expected


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("no", "da", True), ("hr", "sr", True), ("en", "de", False), ("xx", "xx", True), ("xx", "yy", False)],
)
def test_same_language(one: str, other: str, same: bool) -> None:
    assert same_language(one, other) is same
