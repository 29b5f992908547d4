"""`LanguageGate`: drops what is surely another language, keeps what may be the wanted one or cannot be judged."""

from __future__ import annotations

import pytest

from tokenmill.core.doc import Doc
from tokenmill.core.errors import ConfigError
from tokenmill.core.rule import Drop
from tokenmill.extract.gate import LanguageGate

ENGLISH = "The committee met on Tuesday to discuss the budget for the coming year and the plans for a new library. "
GERMAN = "Der Ausschuss traf sich am Dienstag, um den Haushalt für das kommende Jahr und die neue Bücherei zu beraten. "
FRENCH = "Le comité s'est réuni mardi pour discuter du budget de l'année prochaine et de la nouvelle bibliothèque. "
MENU = "<ul>" + "<li><a href=x>Startseite</a><li><a href=x>Impressum</a>" * 20 + "</ul>"


def judge(html: str, gate: LanguageGate | None = None) -> Drop | None:
    return (gate or LanguageGate()).judge(Doc(html=html))


@pytest.mark.parametrize(
    ("html", "kept"),
    [
        (f"<p>{ENGLISH * 5}</p>", True),
        (f"<p>{GERMAN * 5}</p>", False),
        (f"<p>{FRENCH * 5}</p>", False),
        ("<p>日本語の文章です。これは長い文章で、言語を判定するために書かれています。</p>" * 5, False),
        (f"{MENU}<p>{ENGLISH * 2}</p>", True),  # the prose decides, not the menu
        (f"<p>{ENGLISH * 3}</p>" + f"<p>{GERMAN * 5}</p>" * 2, True),  # one of several languages
        (f"<script>{ENGLISH * 9}</script><p>{GERMAN * 5}</p>", False),
        ("<p>Hallo Welt</p>", True),  # too little to judge
        ("", True),
    ],
)
def test_keep_and_drop(html: str, kept: bool) -> None:
    verdict = judge(html)
    assert (verdict is None) is kept
    if verdict is not None:
        assert verdict.reason == "language"
        assert verdict.value is not None
        assert verdict.value < 0.1 == verdict.threshold


def test_several_languages() -> None:
    gate = LanguageGate(languages=("fr", "de"))
    assert judge(f"<p>{GERMAN * 5}</p>", gate) is None
    assert judge(f"<p>{FRENCH * 5}</p>", gate) is None
    assert judge(f"<p>{ENGLISH * 5}</p>", gate) is not None


def test_boundary_of_min_chars() -> None:
    text = GERMAN.strip()
    assert judge(f"<p>{text}</p>", LanguageGate(min_chars=len(text))) is not None
    assert judge(f"<p>{text}</p>", LanguageGate(min_chars=len(text) + 1)) is None


def test_zero_min_score_keeps_everything() -> None:
    assert judge(f"<p>{GERMAN * 5}</p>", LanguageGate(min_score=0.0)) is None


def test_digests_name_the_model_and_refuse_an_empty_list() -> None:
    assert {name: len(digest) for name, digest in LanguageGate().digests().items()} == {"model": 64, "block_model": 64}
    with pytest.raises(ConfigError):
        LanguageGate(languages=()).digests()
    with pytest.raises(ConfigError):
        LanguageGate(model="/no/such/model.bin").digests()
