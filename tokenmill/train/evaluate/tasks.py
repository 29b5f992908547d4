"""Which benchmarks say something of a small model, from which size on, and how their accuracy is usually taken.

Rules of thumb from published small-model work (docs/evaluation.md names it): the bits per byte of the right answer move
long before any accuracy does. They choose what is measured and what is greyed out; whether a score is informative in an
experiment is measured there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

EARLY = 0
SMALL = 10_000_000
MIDDLE = 100_000_000
LARGE = 750_000_000
NORMALISATIONS = {"raw": "acc", "char": "acc_char", "byte": "acc_byte"}
"""Normalisation -> the metric that has it: likelihood as it is, per character, per byte of the answer."""


@dataclass(frozen=True)
class TaskInfo:
    """What is known of a benchmark."""

    normalisation: str = "char"
    """Of its usual accuracy: one of `NORMALISATIONS`."""
    bpb_from: int | None = EARLY
    """Parameters of the smallest model of which the bits per byte of the gold answer say something; None: never."""
    accuracy_from: int | None = EARLY
    """The same of the accuracy."""
    domain: bool = False
    """Whether its bits per byte tell how much mathematics or code the training data had, more than their quality."""
    unit: str = ""
    """Items whose ids are equal up to this mark belong to one unit, such as a passage; "": every item is its own."""


TASKS: Mapping[str, TaskInfo] = {
    "lambada": TaskInfo("raw", EARLY, MIDDLE),
    "sciq": TaskInfo("raw", EARLY, SMALL),
    "arc_easy": TaskInfo("char", EARLY, SMALL),
    "hellaswag": TaskInfo("char", EARLY, SMALL),
    "piqa": TaskInfo("char", SMALL, SMALL),
    "commonsense_qa": TaskInfo("char", SMALL, MIDDLE),
    "social_iqa": TaskInfo("char", SMALL, MIDDLE),
    "mmlu": TaskInfo("char", SMALL, None),
    "jeopardy": TaskInfo("raw", SMALL, None),
    "squad": TaskInfo("raw", SMALL, None),
    "coqa": TaskInfo("raw", SMALL, None, unit="_turn"),
    "naturalqs_open": TaskInfo("raw", SMALL, None),
    "drop": TaskInfo("raw", SMALL, None),
    "arc_challenge": TaskInfo("char", MIDDLE, MIDDLE),
    "openbookqa": TaskInfo("char", MIDDLE, MIDDLE),
    "copa": TaskInfo("raw", MIDDLE, LARGE),
    "winogrande": TaskInfo("raw", LARGE, LARGE),
    "boolq": TaskInfo("raw", None, None),
    "gsm8k": TaskInfo("raw", SMALL, None, domain=True),
    "minerva_math": TaskInfo("raw", SMALL, None, domain=True),
    "humaneval": TaskInfo("raw", SMALL, None, domain=True),
    "mbpp": TaskInfo("raw", SMALL, None, domain=True),
}
"""Known benchmarks by the name of their file."""
UNKNOWN = TaskInfo()
"""What is assumed of a user's own task: accuracy per character, informative at every size."""


def task_info(name: str) -> TaskInfo:
    """What is known of a task; `UNKNOWN` where nothing is."""
    return TASKS.get(name, UNKNOWN)


def default_tasks(parameters: int) -> list[str]:
    """The early-signal kit for a model of so many parameters: known tasks whose bits per byte say something there.

    Without mathematics and code, which measure the domain of the data; name those tasks to have them.
    """
    return [
        name
        for name, info in TASKS.items()
        if info.bpb_from is not None and info.bpb_from <= parameters and not info.domain
    ]


def informative(name: str, metric: str, parameters: int) -> bool:
    """Whether a metric of a task (`bpb`, `prob_gold`, `acc_char` ...) usually says something at that size."""
    info = task_info(name)
    least = info.accuracy_from if metric.startswith("acc") else info.bpb_from
    return least is not None and least <= parameters
