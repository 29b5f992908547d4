from __future__ import annotations

import pytest

from tests.rephrase.checks.pairs import PAGE, PARAPHRASE, reason, style
from tokenmill.rephrase.checks.phrases import FAMILIES, find_phrase

REFUSALS = [
    "I'm sorry, but I can't help with that.",
    "I’m sorry, but I can’t rewrite this text.",
    "I apologize, but I am unable to rewrite this passage.",
    "Sorry, this content cannot be processed.",
    "I cannot fulfill this request.",
    "Unfortunately, I am not able to provide a paraphrase of it.",
    "**I must decline to rewrite the page.**",
    "As an AI language model, I do not have opinions on harbours.",
    "The harbour is old. However, as a large language model, I know nothing else.",
    "Es tut mir leid, aber ich kann diesen Text nicht umschreiben.",
    "Als KI-Modell kann ich dazu nichts sagen.",
    "Je suis désolé, mais je ne peux pas répondre à cette demande.",
    "Lo siento, no puedo ayudarte con eso.",
    "Mi dispiace, ma non posso riscrivere questo testo.",
    "Desculpe, mas não posso reescrever este texto.",
    "Извините, я не могу помочь с этим запросом.",
    "Przepraszam, ale nie mogę tego zrobić.",
    "抱歉，我无法改写这段文字。",
    "作为一个人工智能语言模型，我没有个人观点。",
    "申し訳ありませんが、このリクエストには対応できません。",
    "죄송합니다. 이 요청은 처리할 수 없습니다.",
    "عذرًا، لا أستطيع المساعدة في هذا الطلب.",
    "Üzgünüm, bu metni yeniden yazamam ve yardımcı olamam.",
]
NO_REFUSALS = [
    PAGE,
    PARAPHRASE,
    "He told them that he was sorry, but he could not help.",
    "Sorry seems to be the hardest word, sang Elton John.",
    "I cannot remember a summer as hot as that one.",
    "The museum cannot fulfil every wish of its visitors.",
    "AI language models are trained on text from the web.",
    "I apologized to my sister at once.",
    "Ich kann mich gut an den Sommer erinnern.",
    "Je suis arrivé trop tard.",
    "No puedo vivir sin ti, dice la canción.",
]
META = [
    "Here is the rewritten text: the harbour",
    "Here's a paraphrase of the passage:\n\nThe harbour",
    "**Rewritten text:** The harbour of Whitby",
    "Sure! Here is the text.",
    "Certainly, I'll rewrite it.",
    "Below is a simplified version of the page.",
    "Here is a list of the main points: the harbour",
    "The given text describes a harbour.",
    "This passage discusses the harbour of Whitby.",
    "Question: According to the text, when was it built?\nAnswer: In 1835.",
    "The harbour is old, as stated in the passage.",
    "The harbour is old. The text does not mention its depth.",
    "The harbour is old.\n\nLet me know if you would like another version!",
    "The harbour is old.\n\nI hope this helps!",
    "The harbour is old.\n\nNote: I've removed the navigation.",
    "The harbour is old.\n\nNote that this rewritten version keeps all facts.",
    "Dear [insert name], the harbour is old.",
    "Hier ist die überarbeitete Fassung: Der Hafen",
    "Voici une version réécrite du texte : le port",
    "Aquí tienes una versión reescrita del texto: el puerto",
    "Ecco una versione riscritta: il porto",
    "Aqui está uma versão reescrita: o porto",
    "Вот переписанный текст: гавань",
    "以下是改写后的版本：港口",
    "以下は書き直した文章です。港は",
    "다음은 다시 쓴 글입니다: 항구는",
    "فيما يلي إعادة صياغة النص: الميناء",
]
NO_META = [
    PAGE,
    PARAPHRASE,
    "Here is the harbour where the boats land.",
    "The text of the treaty was signed in 1648.",
    "This is the story of a harbour.",
    "Of course, the harbour is old.",
    "Note that the harbour is closed in winter.",
    "Let me tell you about the harbour of Whitby.",
    "The passage between the piers is narrow.",
    "I hope this year will be better.",
    "Hier ist der Hafen, in dem die Boote liegen.",
    "Voici le port où arrivent les bateaux.",
]


NOT_EVEN_IN_REWRITES = [
    "The roof kept the rain off, but water was dripping from the passage.",
    "A filter that removes stop words from the text before it is counted.",
    "The looms are old.\n\nI have used the same way of tying knots for years, and I kept the old rope.",
    "Let me tell you what a transformed building can teach.",
    "This is a simplified model of a mill.",
    'The sign says "here is the rewritten text" and nobody knows why.',
]
VOICED = [
    "I'm sorry, said Ruth, but I can't go in there, not after the fire. Her brother waited at the gate and looked "
    "up to where two floors were missing, and the sky stood in their place like a second river. Nobody spoke.",
    "Dear Ann, the mill is open.\n\nPlease let me know if your kitchen needs the same board. I hope this helps you.",
    "Here is the story, as my grandmother told it: the mill burnt at night.",
    "We went in.\n\nWould you like me to come again in spring?",
]
"""Nothing that a model says of itself, where persons speak."""
VOICED_META = [
    "I'm sorry, but I can't write a story about this page.",
    "I cannot fulfill this request.",
    "Here is a story inspired by the page:\n\nThe mill burnt at night.",
    "Here is the rewritten text: the mill",
    "Certainly! Here is a letter to a friend.",
    "The mill burnt.\n\nLet me know if you would like any changes to the story!",
    "The mill burnt.\n\nWould you like me to write another one?",
    "The mill burnt at night, according to the text.",
    "The mill burnt.\n[PAGE ENDS 0123456789ab]",
]


@pytest.mark.parametrize("text", NOT_EVEN_IN_REWRITES)
@pytest.mark.parametrize("voiced", [False, True])
def test_words_of_content_are_no_talk_about_the_task(text: str, voiced: bool) -> None:
    assert [find_phrase(family, text, "Another page.", voiced) for family in FAMILIES] == [None, None]


@pytest.mark.parametrize("text", VOICED)
def test_persons_may_be_sorry_and_hope_that_it_helps(text: str) -> None:
    assert [find_phrase(family, text, "Another page.", True) for family in FAMILIES] == [None, None]


@pytest.mark.parametrize("text", VOICED_META)
def test_the_model_may_not(text: str) -> None:
    assert any(find_phrase(family, text, "Another page.", True) for family in FAMILIES)


def test_a_talk_about_language_models_may_quote_them() -> None:
    talk = "Maya: Why does it say so?\nLeo: It was told to say: as an AI language model I cannot know that.\nMaya: So "
    talk += "it knows only what it was shown, and nothing of what happened yesterday?\nLeo: Nothing at all."
    assert find_phrase("refusal", talk, "Language models answer questions.", True) is None
    assert find_phrase("refusal", talk, "Mills grind corn.", True)
    assert find_phrase("refusal", 'It says "as an AI language model I cannot" to all.', "Mills grind corn.") is None


@pytest.mark.parametrize("text", REFUSALS)
def test_refusals_are_refusals_in_new_texts_too(text: str) -> None:
    assert find_phrase("refusal", text, PAGE, True)


@pytest.mark.parametrize("text", REFUSALS)
def test_refusals(text: str) -> None:
    assert find_phrase("refusal", text, PAGE)
    assert find_phrase("refusal", text, f"{text} {PAGE}") is None, "what the page says too is content"


@pytest.mark.parametrize("text", NO_REFUSALS)
def test_no_refusals(text: str) -> None:
    assert find_phrase("refusal", text, PAGE) is None


@pytest.mark.parametrize("text", META)
def test_meta(text: str) -> None:
    assert find_phrase("meta", text, PAGE)
    assert find_phrase("meta", text, text) is None


@pytest.mark.parametrize("text", NO_META)
def test_no_meta(text: str) -> None:
    assert find_phrase("meta", text, "Another page about quite another thing.") is None


def test_the_reason_and_its_words_are_recorded() -> None:
    assert reason(PAGE, REFUSALS[0], style=style(checks={"length_ratio": None})) == "refusal"
    assert reason(PAGE, f"Here is the rewritten text: {PARAPHRASE}") == "meta_talk"
    assert reason(PAGE, f"Here is the rewritten text: {PARAPHRASE}", style=style(checks={"meta": None})) is None


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("text", ["", " ", "\n\n", "x", "#" * 5000, "I'm sorry " * 2000])
def test_odd_texts(family: str, text: str) -> None:
    assert find_phrase(family, text, "") is None or "sorry" in text
