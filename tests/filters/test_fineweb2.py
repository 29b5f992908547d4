"""FineWeb-2's rules per language: every threshold at its boundary, texts in eight languages, files of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.executors.support import run
from tokenmill import LanguageId, Pipeline, ReadJsonl, WriteParquet
from tokenmill.core.doc import Doc
from tokenmill.core.errors import ConfigError
from tokenmill.core.rule import Drop
from tokenmill.core.stage import Filter
from tokenmill.filters import fineweb2
from tokenmill.filters.fineweb2 import (
    BUILTIN,
    RULES,
    FineWeb2Gopher,
    FineWeb2Quality,
    FineWeb2Repetition,
    _load,
    builtin_languages,
)

STAGES: dict[str, type[Any]] = {
    "repetition": FineWeb2Repetition,
    "quality": FineWeb2Quality,
    "gopher": FineWeb2Gopher,
}
WORD_UNITS = {
    *(row[0] for row in RULES["repetition"] if "gram" in row[0]),
    *("max_newline_ratio", "min_words", "max_words", "min_mean_word_length", "max_mean_word_length"),
    *("max_hash_ratio", "max_ellipsis_ratio", "min_alpha_word_share"),
}
"""Thresholds that have words in their unit."""


def reason(stage: Filter, doc: Doc) -> str | None:
    drop = stage.judge(doc)
    return drop.reason if isinstance(drop, Drop) else drop


def good(language: str, **signals: float) -> Doc:
    """A document whose measurements no rule of any language drops, but for those given."""
    values: dict[str, float] = {row[1]: 0.0 for rows in RULES.values() for row in rows}
    values |= {"repetition_characters": 9000, "fineweb_line_count": 9, "fineweb_line_punct_share": 1.0}
    values |= {"gopher_word_count": 900, "gopher_mean_word_length": 5.5, "gopher_alpha_word_share": 1.0}
    values |= {"language_stop_words": 9}
    return Doc(text="x", language=language, **{**values, **signals})


BOUNDARIES = [
    (language, section, row, threshold)
    for language, sections in _load(BUILTIN).items()
    for section, rows in RULES.items()
    for row in rows
    if (threshold := sections[section].get(row[0])) is not None
]


@pytest.mark.parametrize(
    ("language", "section", "row", "threshold"), BOUNDARIES, ids=[f"{b[0]}-{b[1]}-{b[2][0]}" for b in BOUNDARIES]
)
def test_every_threshold_at_its_boundary(
    language: str, section: str, row: tuple[str, str, str, str], threshold: float
) -> None:
    _, signal, comparison, expected = row
    stage = STAGES[section]()
    beyond = threshold * (0.999 if comparison == "<" else 1.001)
    assert reason(stage, good(language)) is None
    assert reason(stage, good(language, **{signal: threshold})) is None
    if threshold:  # a share below 0 does not exist
        drop = stage.judge(good(language, **{signal: beyond}))
        assert drop == Drop(expected, signal, beyond, threshold)
        assert reason(stage, good("xx", **{signal: beyond})) is None


@pytest.mark.parametrize(
    ("language", "section", "key", "value"),
    [
        ("de", "repetition", "max_dup_line_share", 0.263),
        ("de", "quality", "min_line_punct_share", 0.0),
        ("fr", "repetition", "max_top_2gram_char_share", 0.161),
        ("es", "gopher", "min_mean_word_length", 3),
        ("it", "gopher", "max_mean_word_length", 21),
        ("pt", "repetition", "max_top_2gram_char_share", 0.371),
        ("ru", "quality", "max_newline_ratio", 0.139),
        ("ar", "repetition", "max_dup_10gram_char_share", 0.109),
        ("ja", "quality", "min_line_punct_share", 0.096),
        ("zh", "repetition", "max_dup_line_share", 0.287),
        ("zh", "quality", "max_dup_line_char_share", 0.1),
        ("de", "quality", "max_short_line_share", None),
        ("en", "quality", "max_short_line_share", 0.67),
        ("en", "quality", "max_dup_line_char_share", 0.01),
        ("en", "repetition", "max_dup_line_char_share", 0.2),
    ],
)
def test_published_values(language: str, section: str, key: str, value: float | None) -> None:
    assert _load(BUILTIN)[language][section].get(key) == value


@pytest.mark.parametrize("language", ["ja", "zh"])
def test_no_number_with_words_in_its_unit_is_used_without_word_units(language: str) -> None:
    sections = _load(BUILTIN)[language]
    assert not {key for values in sections.values() for key, value in values.items() if value is not None} & WORD_UNITS


def test_languages() -> None:
    assert set(builtin_languages()) >= {"en", "de", "fr", "es", "ru", "ja", "zh", "ar"}
    only = FineWeb2Gopher(languages=("de", "fr"))
    assert reason(only, good("de", gopher_word_count=3)) == "too_few_words"
    assert reason(only, good("es", gopher_word_count=3)) is None
    assert reason(FineWeb2Gopher(), good("ja", repetition_characters=99)) == "too_few_characters"


@pytest.mark.parametrize(
    ("stage", "language", "expected"),
    [
        (FineWeb2Repetition(), "de", "empty"),
        (FineWeb2Repetition(), "xx", "empty"),
        (FineWeb2Quality(), "de", "empty"),
        (FineWeb2Quality(), "xx", "empty"),
        (FineWeb2Gopher(), "de", "too_few_words"),
        (FineWeb2Gopher(), "zh", "too_few_characters"),
        (FineWeb2Gopher(), "xx", None),
    ],
)
def test_an_empty_text(stage: Filter, language: str, expected: str | None) -> None:
    assert reason(stage, Doc(text="", language=language)) == expected


TEXTS = {
    "en": "The old mill at the river was built by two brothers who came from the north. For many years they "
    "ground the corn of the whole valley, and people have told stories about them ever since. When the "
    "railway came, the mill stood still for a while, until a young baker bought it with the money that "
    "her aunt had left to her.",
    "de": "Die alte Mühle am Fluss wurde von zwei Brüdern gebaut, die aus dem Norden kamen. Viele Jahre lang "
    "mahlten sie das Korn des ganzen Tals, und bis heute erzählen die Leute Geschichten von ihnen. Als "
    "die Eisenbahn kam, stand die Mühle eine Weile still, bis eine junge Bäckerin sie mit dem Geld "
    "kaufte, das ihr eine Tante vererbt hatte.",
    "fr": "Le vieux moulin de la rivière fut construit par deux frères venus du nord. Pendant de longues "
    "années, ils ont moulu le grain de toute la vallée, et les gens du pays racontent encore des "
    "histoires à leur sujet. Quand le chemin de fer est arrivé, le moulin est resté immobile, jusqu'au "
    "jour où une jeune boulangère l'acheta avec un héritage.",
    "es": "El viejo molino del río fue construido por dos hermanos que llegaron del norte. Durante muchos años "
    "molieron el grano de todo el valle, y la gente todavía cuenta historias sobre ellos. Cuando llegó el "
    "ferrocarril, el molino se quedó quieto por un tiempo, hasta que una joven panadera lo compró con el "
    "dinero que le dejó su tía.",
    "ru": "Старая мельница у реки была построена двумя братьями, которые пришли с севера. Много лет они мололи "
    "зерно всей долины, и люди до сих пор рассказывают о них истории. Когда в долину пришла железная "
    "дорога, мельница некоторое время стояла без дела, пока её не купила молодая пекарша на деньги, что "
    "оставила ей тётя. Теперь там снова пекут хлеб, а по воскресеньям к реке приезжают гости из города, и "
    "он пахнет на весь двор.",
    "ar": "بنى الطاحونة القديمة على ضفة النهر أخوان جاءا من الشمال قبل زمن طويل. كانت الطاحونة تطحن حبوب الوادي "
    "كله في كل عام، وما زال الناس يروون عن الأخوين قصصا كثيرة إلى اليوم. وعندما وصل القطار إلى القرية "
    "توقفت الطاحونة عن العمل مدة من الوقت، حتى اشترتها خبازة شابة من المال الذي تركته لها خالتها. وفي كل "
    "صباح تفوح رائحة الخبز من النافذة بين البيوت، ويأتي الزوار من المدينة مع أطفالهم.",
    "ja": "川のほとりの古い水車小屋は、北から来た二人の兄弟によって建てられた。長い年月、兄弟は谷じゅうの穀物を"
    "ひき、村の人々は今でもその話をしている。鉄道が通ると水車はしばらく止まったままだったが、やがて若いパ"
    "ン職人が伯母の残したお金でそれを買い取った。今では朝になるとパンの香りが谷に広がり、日曜日には町から"
    "客がやって来る。",
    "zh": "河边的老磨坊是从北方来的两兄弟建造的。许多年来，他们为整个山谷的人磨粮食，人们至今还在讲他们的故事。"
    "铁路修通以后，磨坊停了一段时间，直到一位年轻的面包师用姑妈留下的钱把它买了下来。现在每天早上，面包的"
    "香味飘满了山谷，到了星期天，城里的客人也会到河边来，坐在树下吃面包，听水流的声音。",
}
"""Prose of our own in eight languages."""


def verdict(text: str, language: str) -> str | None:
    for stage in (FineWeb2Repetition(), FineWeb2Quality(), FineWeb2Gopher()):
        found = reason(stage, Doc(text=text, language=language))
        if found:
            return f"{stage.name}.{found}"
    return None


@pytest.mark.parametrize("language", TEXTS)
def test_prose_is_kept(language: str) -> None:
    assert verdict(TEXTS[language], language) is None


@pytest.mark.parametrize("language", TEXTS)
def test_a_page_of_one_line_over_and_over_is_dropped(language: str) -> None:
    assert verdict("\n".join([TEXTS[language]] * 4), language) == "fineweb2_repetition.dup_line_share"


@pytest.mark.parametrize("language", TEXTS)
def test_lists_are_dropped(language: str) -> None:
    """The words of the prose one below the other: a list ends no line with a full stop, and has many newlines."""
    pieces = TEXTS[language].split() if language not in ("ja", "zh") else list(TEXTS[language])
    words = [word.strip(".,。、，") for word in pieces]
    # German texts may have no full stop at any line (a threshold of 0), but not so many lines
    expected = "too_many_newlines" if language == "de" else "too_few_punctuated_lines"
    unique = "\n".join(dict.fromkeys(word for word in words if word))
    assert verdict(unique, language) == f"fineweb2_quality.{expected}"


@pytest.mark.parametrize("language", TEXTS)
def test_text_without_stop_words_is_dropped(language: str) -> None:
    """The language is wrong: running text of another one has none of the stop words."""
    other = "ru" if language not in ("ru", "ar") else "de"
    assert verdict(TEXTS[other], language) == "fineweb2_gopher.too_few_stop_words"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("de: {repetition: {max_dup_lines_share: 0.1}}", "did you mean 'max_dup_line_share'"),
        ("de: {repetitions: {}}", "did you mean 'repetition'"),
        ("de: {quality: {max_newline_ratio: many}}", "max_newline_ratio = 'many' is no number"),
        ("de: {quality: {max_newline_ratio: true}}", "is no number"),
        ("no: {quality: {max_newline_ratio: 0.1}}", "False is no language"),
        ("de: {quality: [1]}", "stage are no mapping"),
        ("de: 3", "'de' are no mapping"),
        ("3", "no mapping"),
        ("", "no mapping"),
        ("de: {quality: [", "not YAML"),
    ],
)
def test_errors_in_a_file_of_ones_own(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        FineWeb2Quality(thresholds=str(path)).digests()
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "defaults: {gopher: {min_words: 7, min_stop_words: 1}}\n"
        "de: {source: mine, gopher: {min_words: 5}}\n"
        "eo: {gopher: {min_stop_words: null}}\n"
    )
    stage = FineWeb2Gopher(thresholds=str(path))
    assert [rule.threshold for rule in stage.rules() if rule.active] == [{"de": 5, "eo": 7}, {"de": 1, "eo": None}]
    assert reason(stage, good("de", gopher_word_count=5)) is None
    assert reason(stage, good("eo", gopher_word_count=6)) == "too_few_words"
    assert reason(stage, good("eo", language_stop_words=0)) is None
    assert stage.digests() != FineWeb2Gopher().digests()
    assert len(FineWeb2Repetition(thresholds=str(path)).digests()["thresholds"]) == 64


def test_unknown_names() -> None:
    with pytest.raises(ConfigError, match="did you mean 'de'"):
        FineWeb2Quality(languages=("deu",)).rules()
    with pytest.raises(ConfigError, match="cannot be read"):
        FineWeb2Quality(thresholds="none.yaml").digests()


@given(st.text(), st.sampled_from([*builtin_languages(), "xx"]))
def test_never_raises(text: str, language: str) -> None:
    assert verdict(text, language) or language in ("ja", "zh", "xx") or len(text) > 50


def test_thresholds_of_ones_own_are_kept_beside_the_recipe(tmp_path: Path, write_jsonl: Any) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text((Path(fineweb2.__file__).parent / "fineweb2.yaml").read_text())
    stages = [ReadJsonl(), LanguageId(), FineWeb2Quality(thresholds=str(own)), WriteParquet()]
    run(Pipeline("own", stages), write_jsonl([{"text": "Ein kurzer Satz."}]), tmp_path / "out")
    assert (tmp_path / "out" / "recipe" / "mine.yaml").read_text() == own.read_text()
