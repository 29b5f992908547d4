"""What the objects of benchmark files say: known forms, and any others.

- the forms of likelihood benchmarks: `context` + `choices` + `gold` (multiple choice), `contexts` + `continuation` +
  `gold` (multiple context), `context` + `continuation`;
- `goal` + `sol1` + `sol2` + `label`, and a `sentence` with a gap + `option1` + `option2` + `answer`, as PIQA and
  WinoGrande publish them;
- any other objects: every string, and every string in a list, of the fields asked for, or of all. `question`
  (`problem`, `prompt`, `query`) and `answer` (`target`, `solution`, `output`) are told apart where they are so named;
  a number, a label or a letter names one of `choices`.

Only right answers are looked for: wrong choices are of no use to who has learned them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_QUESTIONS = ("question", "problem", "prompt", "query", "instruction", "input")
_ANSWERS = ("answer", "answers", "answerKey", "target", "solution", "output", "response", "gold", "label")
_CHOICES = ("choices", "options")
_NAMES = ("id", "_id", "task_id", "question_id", "qid", "uid", "idx", "index")
_NOT_TEXT = frozenset({*_NAMES, "task", "subject", "source", "url", "split", "category", "level", "type", "license"})
_GAP = "_"


class FormError(ValueError):
    """An object contradicts its form."""


@dataclass(frozen=True)
class Item:
    """One item of a benchmark."""

    task: str
    id: str
    pieces: tuple[tuple[str, str], ...]
    """(field, text) in order; the last one asks."""
    answer: str
    """The right answer, "" where the file has none."""
    flows: bool = False
    """Whether the answer goes on with the sentence of the last piece, rather than answer a question."""
    source: str = field(default="", repr=False)
    """The item as its file has it, prompt and right answer."""
    loose: bool = False
    """Whether its form is not known, so that any piece may be the one that asks."""

    @property
    def name(self) -> str:
        return f"{self.task}:{self.id}"

    @property
    def question(self) -> str:
        """The piece that asks."""
        return self.pieces[-1][1] if self.pieces else ""


def item_of(row: Mapping[str, Any], task: str, number: int, fields: Sequence[str]) -> Item:
    """The item of an object, `number` its place among those of its file.

    FormError where it contradicts its form.
    """
    name = next((str(row[key]) for key in _NAMES if row.get(key) is not None), str(number))
    contexts, choices = row.get("contexts"), row.get("choices")
    if not fields and isinstance(contexts, list) and "gold" in row and "continuation" in row:
        return _flowing(task, name, _gold(row["gold"], contexts), row["continuation"])
    if not fields and isinstance(row.get("context"), str) and isinstance(choices, list) and "gold" in row:
        return _flowing(task, name, row["context"], _gold(row["gold"], choices))
    if not fields and isinstance(row.get("context"), str) and isinstance(row.get("continuation"), str):
        return _flowing(task, name, row["context"], row["continuation"])
    if not fields and _are_texts(row, "goal", "sol1", "sol2"):
        answer = _labelled(row.get("label"), (row["sol1"], row["sol2"]), ("0", "1"))
        return Item(task, name, (("goal", _text(row["goal"])),), answer, False, f"{_text(row['goal'])}\n{answer}", True)
    if not fields and _are_texts(row, "sentence", "option1", "option2") and row["sentence"].count(_GAP) == 1:
        option = _labelled(row.get("answer"), (row["option1"], row["option2"]), ("1", "2"))
        before, after = row["sentence"].split(_GAP)
        if option:
            return _flowing(task, name, before + option, after)
    return _other(row, task, name, fields)


def _gold(gold: Any, choices: Sequence[Any]) -> Any:
    """The right one of choices, which must be told by its number."""
    number = int(gold) if isinstance(gold, str) and gold.isascii() and gold.isdigit() else gold
    whole = isinstance(number, int) and not isinstance(number, bool)
    if not whole or not 0 <= number < len(choices):
        raise FormError(f"gold is {gold!r}, and not a number from 0 to {len(choices) - 1}")
    return choices[number]


def _labelled(label: Any, choices: Sequence[str], labels: Sequence[str]) -> str:
    """The choice of a label; "" where a file does not tell the right one, as test sets do."""
    known = dict(zip(labels, choices, strict=True))
    return _text(known.get(str(label), ""))


def _are_texts(row: Mapping[str, Any], *names: str) -> bool:
    return all(isinstance(row.get(name), str) for name in names)


def _flowing(task: str, name: str, context: Any, answer: Any) -> Item:
    before, after = _text(context), _text(answer)
    return Item(task, name, (("context", before),), after, True, before + after)


def _other(row: Mapping[str, Any], task: str, name: str, fields: Sequence[str]) -> Item:
    """An item of no known form: its fields as they are, the question last."""
    chosen = fields or [key for key in row if key not in _NOT_TEXT]
    asks = next((key for key in _QUESTIONS if key in chosen and isinstance(row.get(key), str)), "")
    tells = next((key for key in _ANSWERS if key in chosen and row.get(key) is not None), "") if asks else ""
    pieces = [(key, text) for key in chosen if key not in (asks, tells, *_CHOICES) for text in _texts(row.get(key))]
    if asks:
        pieces.append((asks, _text(row[asks])))
    choices = next((row[key] for key in _CHOICES if row.get(key) is not None), None)
    told = _told(row.get(tells), choices) if tells else ""
    return Item(task, name, tuple(pieces), told, False, "\n".join([*(text for _, text in pieces), told]), True)


def _told(answer: Any, choices: Any) -> str:
    """The right answer in words: an answer may be a number, a label or a letter of one of the choices."""
    labels: Any = None
    if isinstance(choices, Mapping):
        choices, labels = choices.get("text"), choices.get("label")
    if isinstance(answer, Mapping) and "text" in answer:  # with places in the passage beside it
        answer = answer["text"]
    if isinstance(choices, list) and isinstance(answer, int | str) and not isinstance(answer, bool):
        place = _place(answer, choices, labels)
        answer = answer if place is None else choices[place]
    texts = _texts(answer)
    return next((text for text in texts if any(map(str.isalpha, text))), next(iter(texts), ""))


def _place(answer: int | str, choices: list[Any], labels: Any) -> int | None:
    """Which of the choices an answer names; None for an answer in words."""
    if answer in choices:
        return choices.index(answer)
    if isinstance(labels, list) and len(labels) == len(choices) and answer in labels:
        return labels.index(answer)
    number = -1
    if isinstance(answer, int):
        number = answer
    elif answer.isascii() and answer.strip().isdigit():
        number = int(answer)
    elif len(letter := answer.strip(" ().:")) == 1 and letter.isascii() and letter.isalpha():
        number = ord(letter.upper()) - ord("A")
    return number if 0 <= number < len(choices) else None


def _texts(value: Any) -> list[str]:
    """The strings in a value, in order."""
    if isinstance(value, Mapping):
        return [text for part in value.values() for text in _texts(part)]
    if isinstance(value, list):
        return [text for part in value for text in _texts(part)]
    if isinstance(value, str):
        return [_text(value)] if value.strip() else []
    return [str(value)] if isinstance(value, int | float) and not isinstance(value, bool) else []


def _text(value: Any) -> str:
    """A string that UTF-8 can hold: JSON can spell lone surrogates."""
    return str(value).encode("utf-8", "replace").decode()
