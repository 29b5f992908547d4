"""What every run of an ablation is measured on: neutral texts, documents held out of the arms, and benchmarks."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tokenmill.ablate.spec import Evaluation
from tokenmill.core.errors import ConfigError
from tokenmill.tokens.tokenizer import LoadedTokenizer
from tokenmill.train.evaluate.kit import Task, load_kit
from tokenmill.train.evaluate.tasks import NORMALISATIONS, default_tasks, task_info
from tokenmill.train.evaluate.texts import read_text

if TYPE_CHECKING:
    from tokenmill.train.evaluate.suite import Suite

HELD_OUT = "held_out/"


@dataclass(frozen=True)
class Questions:
    """What an evaluation names, read and checked: all that ranks arms."""

    evaluation: Evaluation
    kit: tuple[Task, ...]
    texts: Mapping[str, Sequence[str]]
    """Documents by full name, such as "text/wikitext"."""

    def tasks(self, parameters: int) -> list[Task]:
        """The benchmarks that are asked: those that were named, else those that say something at this size.

        ConfigError where neither these nor a text are left.
        """
        found = list(self.kit)
        if not self.evaluation.tasks:
            known = set(default_tasks(parameters))
            found = [task for task in found if task.name in known or task_info(task.name) == task_info("")]
        if not found and not self.texts:
            raise ConfigError(
                "nothing says which arm is better",
                where="evaluate.kit",
                why=f"none of its benchmarks says anything of a model of {parameters:,} parameters",
                fix="name `tasks`, or give a neutral text: texts: {NAME: FILE}",
            )
        return found


def read_questions(evaluation: Evaluation) -> Questions:
    """Read all benchmarks and texts: before recipes run for an hour. ConfigError where one is not there or damaged."""
    if not evaluation.texts and not evaluation.kit:
        raise ConfigError(
            "nothing says which arm is better",
            where="evaluate",
            why="there is neither a neutral text nor a benchmark; documents held out of an arm favour that arm",
            fix="evaluate: {texts: {NAME: FILE}}, or kit: FOLDER",
        )
    for path in (*evaluation.texts.values(), evaluation.kit):
        if path and not os.path.exists(path):
            raise ConfigError(f"there is nothing at {path}", where="evaluate", fix="paths are relative to the file")
    kit = load_kit(evaluation.kit, list(evaluation.tasks) or None, evaluation.max_items) if evaluation.kit else []
    texts = {f"text/{name}": read_text(path) for name, path in evaluation.texts.items()}
    return Questions(evaluation, tuple(kit), texts)


class Measures:
    """Items and texts, read once; a suite for each length of context. All runs of a study have the same."""

    def __init__(
        self, questions: Questions, held_out: Mapping[str, Sequence[str]], tokenizer: LoadedTokenizer, parameters: int
    ) -> None:
        """held_out: texts by arm. parameters: of the model, which decides on the tasks where none are named.

        ConfigError where nothing at all is measured.
        """
        self._text_bytes = questions.evaluation.text_bytes
        self._tokenizer = tokenizer
        self._suites: dict[int, Suite] = {}
        self.tasks = questions.tasks(parameters)
        self.texts = questions.texts
        self.held_out = {f"{HELD_OUT}{arm}": list(texts) for arm, texts in held_out.items() if texts}

    def suite(self, context: int, device: str) -> Suite:
        """For models that take so many ids at a time."""
        from tokenmill.train.evaluate.suite import make_suite

        if context not in self._suites:
            self._suites[context] = make_suite(
                self._tokenizer,
                context,
                tasks=self.tasks,
                texts={**self.texts, **self.held_out},
                text_bytes=self._text_bytes,
                device=device,
            )
        return self._suites[context]

    def digests(self, context: int, device: str) -> dict[str, str]:
        """SHA-256 of what is asked in each text and task, by full name: equal where its scores compare."""
        requests = self.suite(context, device).requests
        found = {name: requests[name].sha256 for name in (*self.texts, *self.held_out)}
        for task in self.tasks:
            asked = f"{task.sha256} {self._tokenizer.sha256} {context}"
            found[f"task/{task.name}"] = hashlib.sha256(asked.encode()).hexdigest()
        return found

    def describe(self, context: int, device: str) -> dict[str, Any]:
        """For the record: names, usual accuracies, measured baselines, and the digest of all that is asked."""
        suite = self.suite(context, device)
        return {
            "texts": [name.partition("/")[2] for name in self.texts],
            "held_out": [name.partition("/")[2] for name in self.held_out],
            "tasks": [_described(task) for task in self.tasks],
            "chance": {
                name: {"level": one.level, "uniform": one.uniform, "random": one.random, "random_sd": one.random_sd}
                for name, one in suite.chance().items()
            },
            "asked": suite.sha256,
            "forward_tokens": suite.forward_tokens,
        }


def other_questions(known: Mapping[str, str], asked: Mapping[str, str]) -> list[str]:
    """In words, why scores on `known` do not compare with scores on `asked` (digests by name); empty where they do.

    Texts and tasks rank arms, so that all runs have the same. A text held out of an arm ranks nothing: it may be there
    for some runs only, since arms may be added and removed.
    """
    found = []
    for name in sorted({*known, *asked}):
        if name in known and name in asked:
            if known[name] != asked[name]:
                found.append(f"{name} is another one now")
        elif not name.startswith(HELD_OUT):
            found.append(f"{name} was asked then, and is not now" if name in known else f"{name} was not asked then")
    return found


def _described(task: Task) -> dict[str, Any]:
    info = task_info(task.name)
    return {
        "name": task.name,
        "items": len(task.items),
        "units": task.units,
        "accuracy": NORMALISATIONS[info.normalisation] if task.chance is not None else None,
        "accuracy_from": info.accuracy_from,
        "sha256": task.sha256,
    }
