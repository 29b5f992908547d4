"""What every run of an ablation is measured on: neutral texts, documents held out of the arms, and benchmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tokenmill.ablate.spec import Evaluation
from tokenmill.core.errors import ConfigError
from tokenmill.tokens.tokenizer import LoadedTokenizer
from tokenmill.train.evaluate.kit import Task, load_kit
from tokenmill.train.evaluate.tasks import NORMALISATIONS, default_tasks, task_info
from tokenmill.train.evaluate.texts import read_text

if TYPE_CHECKING:
    from tokenmill.train.evaluate.suite import Suite


class Measures:
    """Items and texts, read once; a suite for each length of context. All runs of a study have the same."""

    def __init__(
        self, evaluation: Evaluation, held_out: Mapping[str, Sequence[str]], tokenizer: LoadedTokenizer, parameters: int
    ) -> None:
        """held_out: texts by arm. parameters: of the model, which decides on the tasks where the evaluation names none.

        ConfigError for files that are no benchmarks or texts, and where nothing at all is measured.
        """
        self._evaluation = evaluation
        self._tokenizer = tokenizer
        self._suites: dict[int, Suite] = {}
        self.tasks = _tasks(evaluation, parameters)
        self.texts = {f"text/{name}": read_text(path) for name, path in evaluation.texts.items()}
        self.held_out = {f"held_out/{arm}": list(texts) for arm, texts in held_out.items() if texts}
        if not self.tasks and not self.texts:
            raise ConfigError(
                "nothing says which arm is better",
                where="evaluate.kit",
                why=f"none of its benchmarks says anything of a model of {parameters:,} parameters",
                fix="name `tasks`, or give a neutral text: texts: {NAME: FILE}",
            )

    def suite(self, context: int, device: str) -> Suite:
        """For models that take so many ids at a time."""
        from tokenmill.train.evaluate.suite import make_suite

        if context not in self._suites:
            cut = self._evaluation.text_bytes
            self._suites[context] = make_suite(
                self._tokenizer,
                context,
                tasks=self.tasks,
                texts={**self.texts, **self.held_out},
                text_bytes=cut,
                device=device,
            )
        return self._suites[context]

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


def _tasks(evaluation: Evaluation, parameters: int) -> list[Task]:
    if not evaluation.kit:
        return []
    if evaluation.tasks:
        return load_kit(evaluation.kit, list(evaluation.tasks), evaluation.max_items)
    found = load_kit(evaluation.kit, None, evaluation.max_items)
    known = set(default_tasks(parameters))
    return [task for task in found if task.name in known or task_info(task.name) == task_info("")]


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
