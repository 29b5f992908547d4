"""Pages with the tables of signals and of the built-in recipes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module

import tokenmill.text.signals
from tokenmill.core.signals import Signal, known_signals
from tokenmill.pipelines import RECIPES, REPHRASING, WITH_MODELS, recipe
from tools.docs.markdown import code, inline, prose, shorten, table
from tools.docs.stages import documented, settings_of

FAMILIES = {
    "gopher": "Gopher quality",
    "repetition": "Gopher repetition",
    "fineweb": "FineWeb",
    "c4": "C4",
    "text": "Other measurements",
    "language": "Words of the language",
}


def signals() -> str:
    """The page of all signals that are measured on a text."""
    documented()
    parts = [
        "# Signals\n",
        "A signal is a number that is measured on a text: a column in annotate mode, and what rules compare with their"
        " thresholds. All of them come from one compiled pass over the text (the stage"
        " [text_signals](stages/text_signals.md)). Null means that it was not measured, and no rule holds for null.\n",
        (inspect.getdoc(tokenmill.text.signals) or "").partition("\n\n")[2] + "\n",
    ]
    families: dict[str, list[Signal]] = {}
    for name, found in known_signals().items():
        if found.compute is None or (found.compute.__module__ or "").startswith("tokenmill."):
            families.setdefault(_family(name), []).append(found)
    for family, members in families.items():
        rows = [[code(s.name), str(s.dtype), inline(s.unit), inline(s.meaning), inline(s.source)] for s in members]
        parts += [f"## {family}\n", table(["signal", "type", "unit", "meaning", "source"], rows)]
    return "\n".join(parts)


def _family(name: str) -> str:
    return FAMILIES.get(name.partition("_")[0], "Other measurements")


def recipes() -> Iterator[tuple[str, str]]:
    """Name of a file below `recipes/`, and what stands in it."""
    rows = [[f"[{name}]({name}.md)", inline(_function_doc(name)), _needs(name)] for name in RECIPES]
    hidden = "```{toctree}\n:hidden:\n\n" + "\n".join(RECIPES) + "\n```\n"
    yield (
        "index.md",
        "# Recipes\n\nA recipe is a named list of stages; `tokenmill run NAME` runs it, `--set stage.setting=value`"
        " changes it, and `my.py:name` is one of your own ([Write a filter](../../write-a-filter.md)). The pages are"
        f" made from the code.\n\n{table(['recipe', 'what it is', 'needs'], rows)}\n{hidden}",
    )
    for name in RECIPES:
        yield f"{name}.md", _recipe(name)


def _needs(name: str) -> str:
    if name in REPHRASING:
        return "a language model"
    return "classifiers" if name in WITH_MODELS else "nothing"


def _function_doc(name: str) -> str:
    module, _, function = RECIPES[name].partition(":")
    return (inspect.getdoc(getattr(import_module(module), function)) or "").partition("\n\n")[0]


def _recipe(name: str) -> str:
    pipeline = recipe(name)
    module = import_module(RECIPES[name].partition(":")[0])
    overview, settings = [], []
    for number, (label, stage) in enumerate(zip(pipeline.labels, pipeline.stages, strict=True), 1):
        cls = type(stage)
        link = f"[{label}](../stages/{cls.name}.md)"
        changed = []
        for found in settings_of(cls):
            value = getattr(stage, found.name)
            differs = found.required or value != found.default
            if differs:
                changed.append(code(f"{found.name}={shorten(value)}"))
            mark = "set by the recipe" if differs else ""
            settings.append([code(f"{label}.{found.name}"), code(shorten(value)), mark, inline(found.text)])
        overview.append([str(number), link, ", ".join(changed) or "defaults"])
    return "\n".join(
        [
            f"# {name}\n",
            prose(inspect.getdoc(module) or ""),
            "## Stages\n",
            table(["", "stage", "settings of the recipe"], overview),
            "## Settings\n",
            f"Those of `tokenmill run {name}` without `--set`. The meaning names the source of a number.\n",
            table(["setting", "value", "", "meaning"], settings),
        ]
    )
