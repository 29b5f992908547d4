"""One page per registered stage: documentation, columns, settings, rules, and examples from the bundled archive."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import cache

from tokenmill import _EXPORTS
from tokenmill.core.errors import ConfigError
from tokenmill.core.settings import FieldDoc, build_stage, field_docs
from tokenmill.core.signals import known_signals
from tokenmill.core.stage import Filter, Rewrite, Stage, registered_stages
from tokenmill.pipelines import RECIPES, recipe
from tokenmill.pipelines.find import import_stages
from tools.docs import examples
from tools.docs.examples import Changes, Shown, Verdicts
from tools.docs.markdown import code, cut, inline, literal, prose, shorten, table
from tools.docs.runs import commands

settings_of = cache(field_docs)
"""The settings of a class of stages; reading its source takes a while."""
KINDS = ("Source", "Rewrite", "Annotate", "Filter", "Barrier", "Sink")
TITLES = {
    "Source": "Sources",
    "Rewrite": "Stages that change the text",
    "Annotate": "Stages that add columns",
    "Filter": "Filters",
    "Barrier": "Deduplication",
    "Sink": "Sinks",
}
NEEDS = {
    "encoder_score": "A model: a folder of `tokenmill train-classifier`, one with `config.json` and safetensors, or a"
    " name on the hub. The extra `gpu` (PyTorch, transformers); it also runs on CPUs.",
    "encoder_score_gpu": "What [encoder_score](encoder_score.md) needs, and a GPU per worker.",
    "fasttext_score": "A fastText model file (`.bin`, `.ftz`). The library itself is not needed.",
    "count_tokens": "A tokenizer: a `tokenizer.json`, a folder, or a name on the hub. The extra `tokenize`.",
    "encode_text": "A tokenizer: a `tokenizer.json`, a folder, or a name on the hub. The extra `tokenize`.",
    "write_tokens": "A tokenizer: a `tokenizer.json`, a folder, or a name on the hub. The extra `tokenize`.",
    "write_mixture": "Token sets, as `tokenmill tokenize` writes them; it is what `tokenmill mix` runs.",
    "read_token_documents": "Token sets; it is what `tokenmill mix` runs.",
    "write_rephrased": "A server with the OpenAI interface, one that is started (`--serve`), or a model in the process."
    " The extra `llm`.",
    "edit_lines": "Nothing; the recipe `prox` runs it before a language model is asked.",
    "find_contamination": "Benchmarks: files with their items ([Decontamination](../../decontamination.md)).",
    "drop_contaminated": "[find_contamination](find_contamination.md) before it.",
    "mask_contamination": "[find_contamination](find_contamination.md) before it.",
    "datatrove_filter": "The extra `datatrove`, and what the step needs (spaCy for datatrove's quality filters).",
    "datatrove_rewrite": "The extra `datatrove`, and what the step itself needs.",
    "score_filter": "A column with a score, from any scorer before it.",
    "ensemble": "Columns with scores, from scorers before it.",
    "score_bins": "A column with a score, and edges, as `tokenmill bins` finds them.",
    "quality_level": "A column with bins, as [score_bins](score_bins.md) writes them.",
    "round_score": "A column with a score.",
    "toxicity_filter": "A scorer for toxicity before it ([fasttext_score](fasttext_score.md)).",
    "nsfw_classifier_filter": "A scorer before it ([fasttext_score](fasttext_score.md)).",
    "read_annotated": "A run in annotate mode; it is what `tokenmill refilter` runs.",
    "materialize": "Nothing. `tokenmill ablate` puts it where the recipes of two arms part.",
}
"""Stage -> what it needs besides documents."""


def documented() -> dict[str, type[Stage]]:
    """The stages of the package that can stand in a pipeline, by name."""
    import_stages()
    found = registered_stages()
    return {
        name: cls
        for name, cls in sorted(found.items())
        if cls.__module__.startswith("tokenmill.") and not inspect.isabstract(cls) and kind_of(cls) in KINDS
    }


def kind_of(cls: type[Stage]) -> str:
    """The kind of a stage, as the pages sort them."""
    for base in cls.__mro__:
        if base.__module__ == "tokenmill.core.stage":
            return "Sink" if base.__name__ == "SteppedSink" else base.__name__
    return "Stage"


def pages() -> Iterator[tuple[str, str]]:
    """Name of a file below `stages/`, and what stands in it."""
    stages = documented()
    used = _recipes_by_stage()
    yield "index.md", _index(stages)
    for name, cls in stages.items():
        yield f"{name}.md", page(cls, used.get(name, []))


def _recipes_by_stage() -> dict[str, list[str]]:
    used: dict[str, list[str]] = {}
    for name in RECIPES:
        for stage in recipe(name).stages:
            names = used.setdefault(type(stage).name, [])
            if name not in names:
                names.append(name)
    return used


def _index(stages: dict[str, type[Stage]]) -> str:
    parts = [
        "# Stages\n",
        "Every stage that a pipeline can have. The pages are made from the code: settings and rules are those of the"
        " version that you read about, and the pages that they kept or removed are those of the bundled archive"
        " (`examples/data`). `tokenmill stages NAME` prints the tables in a terminal.\n",
    ]
    for kind in KINDS:
        names = [name for name, cls in stages.items() if kind_of(cls) == kind]
        rows = [[f"[{name}]({name}.md)", inline(_first_line(stages[name]))] for name in names]
        parts += [f"## {TITLES[kind]}\n", table(["stage", "what it does"], rows)]
        parts.append("```{toctree}\n:hidden:\n:caption: " + TITLES[kind] + "\n\n" + "\n".join(names) + "\n```\n")
    return "\n".join(parts)


def _first_line(cls: type[Stage]) -> str:
    return (inspect.getdoc(cls) or "").partition("\n\n")[0]


def made(cls: type[Stage]) -> Stage | None:
    """The stage with its default settings; None where some must be given."""
    if any(found.required for found in settings_of(cls)):
        return None
    try:
        return build_stage(cls, {})
    except ConfigError:  # settings that have defaults, and must be chosen all the same
        return None


def page(cls: type[Stage], recipes: list[str]) -> str:
    """The page of one stage."""
    name, stage = cls.name, made(cls)
    parts = [f"# {name}\n", f"*{_what(cls)} · version {cls.version}*\n", prose(inspect.getdoc(cls) or "")]
    facts = []
    if cls.__name__ in _EXPORTS:
        facts.append(["Python", code(f"from tokenmill import {cls.__name__}")])
    else:
        facts.append(["Python", code(f"from {cls.__module__} import {cls.__name__}")])
    if recipes:
        facts.append(["in the recipes", ", ".join(f"[{one}](../recipes/{one}.md)" for one in recipes)])
    if name in NEEDS:
        facts.append(["needs", NEEDS[name]])
    reads = stage.reads if stage is not None else cls.reads
    if isinstance(reads, tuple) and reads:  # of some stages the settings decide
        facts.append(["reads", ", ".join(map(code, reads))])
    if stage is not None and stage.columns_added() and not stage.measures():
        added = stage.columns_added().items()
        facts.append(["adds", ", ".join(f"{code(column)} ({dtype})" for column, dtype in added)])
    if cls.on_demand:
        facts.append(["put in by the plan", "where a later stage reads what only this one adds"])
    parts.append(table(["", ""], facts))
    parts += [settings_table(cls), rules_table(stage), _signals(stage), _examples(cls, stage)]
    return "\n".join(part for part in parts if part)


def _what(cls: type[Stage]) -> str:
    words = {"Annotate": "Adds columns", "Rewrite": "Changes documents", "Barrier": "Sees all documents at once"}
    return words.get(kind_of(cls), kind_of(cls))


def settings_table(cls: type[Stage]) -> str:
    fields = settings_of(cls)
    if not fields:
        return "## Settings\n\nNone.\n"
    rows = [[code(f.name), code(f.type), _default(f), inline(f.text)] for f in fields]
    first = next((f for f in fields if not f.required and isinstance(f.default, int | float | str)), fields[0])
    use = (
        f"Change one with `--set {cls.name}.{first.name}=VALUE`, or in Python with `{cls.__name__}({first.name}=...)`."
    )
    return f"## Settings\n\n{table(['setting', 'type', 'default', 'meaning'], rows)}\n{use}\n"


def _default(found: FieldDoc) -> str:
    return "**required**" if found.required else code(shorten(found.default))


def rules_table(stage: Stage | None) -> str:
    if not isinstance(stage, Filter) or not stage.rules():
        return ""
    signals = known_signals()
    rows = []
    for rule in stage.rules():
        known = signals.get(rule.signal)
        when = code(cut(str(rule), 160)) if rule.active else f"{code(rule.signal)} (off)"
        details = (known.unit, known.meaning, known.source) if known else ("", "a column", "")
        rows.append([code(rule.reason), when, *map(inline, details)])
    shown = table(["reason", "dropped when", "unit", "meaning of the signal", "source"], rows)
    return f"## Rules\n\nIn this order; the first that holds is the recorded reason.\n\n{shown}"


def _signals(stage: Stage | None) -> str:
    if stage is None or not stage.measures():
        return ""
    return f"## Signals\n\n{len(stage.measures())} signals; they are listed in [Signals](../signals.md).\n"


def _examples(cls: type[Stage], stage: Stage | None) -> str:
    if cls.name == "extract_text":
        return _extraction()
    if stage is None:
        return ""
    if isinstance(stage, Rewrite):
        changes = examples.changes_of(stage)
        return _changes(changes) if changes is not None else ""
    found = examples.verdicts_of(stage)
    if found is not None:
        return _verdicts(found)
    passages = examples.changes_by_barrier(cls.name)
    return _changes(passages) if passages is not None else ""


def _source_of(run: str) -> str:
    shown = commands().get(run)
    if shown is None:
        return "tools/docs/dedup_example.py on the whole text of these pages"
    return f"`{shown}`"


def _verdicts(found: Verdicts) -> str:
    removed = sum(count for count, _ in found.removed.values())
    parts = [
        "## On the bundled pages\n",
        f"{_source_of(found.run)}: of {found.documents} documents this stage alone would remove {removed}"
        f" ({removed / max(found.documents, 1):.0%}). In annotate mode every filter looks at every document, also"
        " at those that another one removes.\n",
    ]
    for reason, (count, shown) in found.removed.items():
        parts.append(f"### Removed: {code(reason)}, {count} of {found.documents}\n")
        parts += [_shown(one) for one in shown]
    if found.kept:
        parts.append("### Kept\n")
        parts += [_shown(one) for one in found.kept]
    return "\n".join(parts)


def _shown(one: Shown) -> str:
    why = f": {code(one.why)}" if one.why else ""
    return f"{code(one.url)}{why}\n\n{literal(one.text)}"


def _changes(found: Changes) -> str:
    parts = [
        "## On the bundled pages\n",
        f"{_source_of(found.run)}: with its default settings this stage changes the text of {found.changed} of"
        f" {found.documents} documents.\n",
    ]
    for reason, count in sorted(found.dropped.items()):
        parts.append(f"It drops {count} for the reason {code(reason)}.\n")
    if found.shown:
        parts.append("Lines before (`-`) and after (`+`):\n")
    for one in found.shown:
        parts.append(f"{code(one.url)}\n\n{literal(one.text).replace('text', 'diff', 1)}")
    return "\n".join(parts)


def _extraction() -> str:
    """The same page by each extractor."""
    from tokenmill.core.doc import Doc
    from tokenmill.core.rule import Drop
    from tokenmill.extract.text import ExtractText

    parts = ["## On a bundled page\n"]
    for row in examples.archived(1):
        parts.append(f"{code(row['url'])}, {len(row['html']):,} characters of HTML.\n")
        for extractor in ("trafilatura", "resiliparse", "skim"):
            stage = ExtractText(extractor=extractor)
            stage.setup()
            out = stage.rewrite(Doc(**row))
            text = out.reason if isinstance(out, Drop) else str(out["text"])
            parts.append(f"### {extractor}: {len(text):,} characters\n\n{literal(cut(text, examples.CHARACTERS))}")
    return "\n".join(parts)
