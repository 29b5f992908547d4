"""Language and script of outputs beside those of their sources."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from tokenmill.rephrase.checks.scripts import script_counts, shared_script
from tokenmill.rephrase.checks.words import Texts, measured
from tokenmill.text.langid import BUNDLED, load_langid

LEAST_LETTERS = 40
"""Letters from which on a language is believed; a third of it in scripts of syllables and ideographs."""
LEAST_SCRIPT_LETTERS = 15
LEAST_SCORE = 0.65
"""Score from which on a language is believed. On 7,807 crawled pages, each beside itself without every seventh word,
the two languages never differ, and 150 pages are not judged; two unrelated pieces of 120 characters of a page differ in
14 of 6,745 cases, some of them rightly."""
_CHARACTERS = 1000
"""Of a text that are shown to the model."""
_DENSE = 3

_GROUPS = (
    "no nb nn da",
    "hr sr bs sh",
    "id ms min jv",
    "zh wuu yue",
    "gl pt",
    "az tr",
    "cs sk",
    "bg mk",
    "hi mr ne bh mai",
    "fa ps ckb",
    "ar arz",
    "nl af",
    "als de nds bar lb",
    "en sco",
    "tl ceb war",
    "it lmo pms vec nap",
    "es ast an",
    "ru uk be",
)
"""Languages that the model takes for each other in short texts; a change between them is not believed. Russian and
Ukrainian are told apart well only in longer texts."""
_CONFUSED = {code: number for number, group in enumerate(_GROUPS) for code in group.split()}
_LONG_CODES = dict(
    part.split("=")
    for part in (
        "eng=en deu=de ger=de fra=fr fre=fr spa=es ita=it por=pt nld=nl dut=nl rus=ru ukr=uk pol=pl ces=cs cze=cs "
        "slk=sk slv=sl hrv=hr srp=sr bos=bs bul=bg ron=ro rum=ro hun=hu fin=fi swe=sv dan=da nob=no nno=nn nor=no "
        "est=et lav=lv lit=lt ell=el gre=el tur=tr ara=ar arb=ar heb=he fas=fa per=fa pes=fa hin=hi ben=bn urd=ur "
        "tam=ta tel=te mar=mr guj=gu kan=kn mal=ml pan=pa tha=th vie=vi ind=id msa=ms zsm=ms jpn=ja kor=ko zho=zh "
        "chi=zh cmn=zh cat=ca eus=eu baq=eu glg=gl isl=is gle=ga cym=cy sqi=sq mkd=mk kat=ka hye=hy aze=az azj=az "
        "kaz=kk uzb=uz npi=ne sin=si khm=km lao=lo mya=my swh=sw swa=sw afr=af tgl=tl fil=tl"
    ).split()
)


def short_code(language: str | None) -> str | None:
    """The two letters of a code such as "en", "eng", "eng_Latn" or "en-GB"; None for what is not known."""
    base = (language or "").replace("-", "_").split("_")[0].lower()
    if len(base) == 2:
        return base
    return _LONG_CODES.get(base)


def same_language(one: str, other: str) -> bool:
    """Whether they are equal, or taken for each other too often."""
    return one == other or (one in _CONFUSED and _CONFUSED[one] == _CONFUSED.get(other))


def language_checks(
    outputs: Sequence[str], sources: Texts, source_languages: Sequence[str | None]
) -> dict[str, pa.Array]:
    """language, language_same and script_share.

    source_languages: what a label says of each source, or None. A label may be wrong, so that the language of the
    source is measured too, and where both are known both must disagree with the output.
    """
    counts, source_counts = script_counts(outputs), script_counts(sources.distinct)
    shares = shared_script(counts, source_counts[sources.place], LEAST_SCRIPT_LETTERS)
    own = _believed(outputs, counts)
    measured_sources = _believed(sources.distinct, source_counts)
    same: list[bool | None] = []
    for language, place, given in zip(own, sources.place.tolist(), source_languages, strict=True):
        known = [code for code in (short_code(given), measured_sources[place]) if code is not None]
        judged = language is not None and known
        same.append(any(same_language(str(language), code) for code in known) if judged else None)
    return {
        "language": pa.array(own, pa.string()),
        "language_same": pa.array(same, pa.bool_()),
        "script_share": measured(shares),
    }


def _believed(texts: Sequence[str], counts: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> list[str | None]:
    """The language of each text; None where it is too short or the model is not sure."""
    dense = _dense_letters(counts)
    letters = counts.sum(axis=1) + (_DENSE - 1) * dense
    labels, scores = load_langid(BUNDLED).tops(pa.array([text[:_CHARACTERS] for text in texts], pa.large_string()))
    believed = (letters >= LEAST_LETTERS) & (scores.to_numpy(zero_copy_only=False) >= LEAST_SCORE)
    return [label if sure else None for label, sure in zip(labels.to_pylist(), believed.tolist(), strict=True)]


def _dense_letters(
    counts: np.ndarray[tuple[int, int], np.dtype[np.int64]],
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Letters that stand for a syllable or a word."""
    from tokenmill.rephrase.checks.scripts import NAMES

    chosen = [NAMES.index(name) for name in ("Han", "Kana", "Hangul", "Ethiopic")]
    found: np.ndarray[tuple[int], np.dtype[np.int64]] = counts[:, chosen].sum(axis=1)
    return found
