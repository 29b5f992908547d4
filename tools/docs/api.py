"""Pages of the Python interface: what is public, by subject. The texts are docstrings, read by autodoc."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from typing import Any

import tokenmill
from tools.docs.markdown import code, inline, prose, table
from tools.docs.places import ROOT
from tools.docs.stages import documented

_PAGES: dict[str, tuple[str, str, tuple[tuple[str, str], ...]]] = {
    "pipelines": (
        "Pipelines and documents",
        "A pipeline is a name and a list of stages. Filters see documents.",
        (
            ("class", "tokenmill.core.pipeline.Pipeline"),
            ("class", "tokenmill.core.doc.Doc"),
            ("class", "tokenmill.core.rule.Rule"),
            ("class", "tokenmill.core.rule.Drop"),
            ("function", "tokenmill.core.signals.signal"),
            ("function", "tokenmill.core.signals.known_signals"),
        ),
    ),
    "kinds": (
        "Kinds of stages",
        "What you derive your own stages from. Sub-classing makes a frozen dataclass and registers its name.",
        (
            ("class", "tokenmill.core.stage.Stage"),
            ("class", "tokenmill.core.stage.Source"),
            ("class", "tokenmill.core.stage.Rewrite"),
            ("class", "tokenmill.core.stage.Annotate"),
            ("class", "tokenmill.core.stage.Filter"),
            ("class", "tokenmill.core.stage.Stepped"),
            ("class", "tokenmill.core.stage.Barrier"),
            ("class", "tokenmill.core.stage.Sink"),
            ("class", "tokenmill.core.scorer.Scorer"),
            ("class", "tokenmill.core.stage.Resources"),
            ("class", "tokenmill.core.stage.InputShard"),
        ),
    ),
    "runs": (
        "Plans and runs",
        "What `tokenmill run` and `tokenmill refilter` do, for programs.",
        (
            ("function", "tokenmill.pipelines.find.load_recipe"),
            ("class", "tokenmill.pipelines.find.Recipe"),
            ("function", "tokenmill.io.filesystem.list_inputs"),
            ("function", "tokenmill.core.plan.make_plan"),
            ("class", "tokenmill.core.plan.Annotation"),
            ("class", "tokenmill.executors.runspec.RunSpec"),
            ("class", "tokenmill.executors.runspec.Options"),
            ("function", "tokenmill.executors.run.execute"),
            ("class", "tokenmill.executors.run.RunOutcome"),
            ("function", "tokenmill.executors.refilter.refilter_spec"),
            ("class", "tokenmill.executors.local.LocalExecutor"),
            ("class", "tokenmill.io.runfolder.RunFolder"),
        ),
    ),
    "tokens": (
        "Tokens and loading",
        "Token sets, and the loader that training reads them with ([the loader](../../loader.md)).",
        (
            ("class", "tokenmill.tokens.loader.TokenLoader"),
            ("class", "tokenmill.tokens.loader.Place"),
            ("class", "tokenmill.tokens.tokenset.TokenSet"),
            ("class", "tokenmill.tokens.tokenset.SetManifest"),
            ("class", "tokenmill.tokens.tokenset.TokenizerInfo"),
        ),
    ),
    "training": (
        "Training",
        "The loop and its settings ([Training](../../training.md)). These modules load PyTorch.",
        (
            ("source", "tokenmill.train.loop.train"),
            ("source", "tokenmill.train.create.make_model"),
            ("source", "tokenmill.train.export.export_hf"),
            ("source", "tokenmill.train.export.load_hf"),
            ("class", "tokenmill.train.settings.TrainSettings"),
            ("class", "tokenmill.train.config.ModelConfig"),
        ),
    ),
    "errors": (
        "Errors",
        "Named by what the runner does when it meets one ([Troubleshooting](../../troubleshooting.md)).",
        (
            ("exception", "tokenmill.core.errors.TokenmillError"),
            ("exception", "tokenmill.core.errors.ConfigError"),
            ("exception", "tokenmill.core.errors.DocumentError"),
            ("exception", "tokenmill.core.errors.ShardError"),
            ("exception", "tokenmill.core.errors.FatalError"),
        ),
    ),
}


def pages() -> Iterator[tuple[str, str]]:
    """Name of a file below `api/`, and what stands in it."""
    rows = [[f"[{title}]({name}.md)", inline(text.partition(" ([")[0])] for name, (title, text, _) in _PAGES.items()]
    hidden = "```{toctree}\n:hidden:\n\n" + "\n".join(_PAGES) + "\n```\n"
    yield (
        "index.md",
        "# Python API\n\nWhat `from tokenmill import ...` gives is stable in name; other modules may move between"
        " versions. `import tokenmill` loads nothing heavy.\n\n"
        f"{table(['page', 'what'], rows)}\n## Exported names\n\n{_exports()}\n{hidden}",
    )
    for name, (title, text, members) in _PAGES.items():
        yield f"{name}.md", _page(title, text, members)


def _exports() -> str:
    stages = {cls: name for name, cls in documented().items()}
    where = {full: name for name, (_, _, members) in _PAGES.items() for _, full in members}
    rows = []
    for name in tokenmill.__all__:
        found: Any = getattr(tokenmill, name)
        full = f"{getattr(found, '__module__', '')}.{name}"
        if found in stages.keys() if isinstance(found, type) else False:
            link = f"[{name}](../stages/{stages[found]}.md)"
        elif full in where:
            link = f"[{name}]({where[full]}.md)"
        else:
            link = code(name)
        text = "The version of the package." if isinstance(found, str) else _first(found)
        rows.append([link, inline(text)])
    return table(["name", "what it is"], rows)


def _first(found: Any) -> str:
    return (inspect.getdoc(found) or "").partition("\n\n")[0]


def _page(title: str, text: str, members: tuple[tuple[str, str], ...]) -> str:
    read = "\n".join(_from_source(full) for kind, full in members if kind == "source")
    blocks = []
    for kind, full in members:
        if kind == "source":
            continue
        listed = ["   :members:"] if kind in ("class", "exception") else []
        blocks.append("\n".join([f".. auto{kind}:: {full}", *listed]) + "\n")
    return f"# {title}\n\n{text}\n\n{read}\n```{{eval-rst}}\n" + "\n".join(blocks) + "```\n"


def _from_source(full: str) -> str:
    """A function as its file has it, for modules that load PyTorch."""
    module, _, name = full.rpartition(".")
    tree = ast.parse((ROOT / (module.replace(".", "/") + ".py")).read_text(encoding="utf-8"))
    (found,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    shown = ast.FunctionDef(
        name=name, args=found.args, body=[ast.Expr(ast.Constant(...))], decorator_list=[], returns=found.returns
    )
    head = ast.unparse(ast.fix_missing_locations(shown)).partition(":\n    ...")[0].replace(", *, ", ",\n    *, ")
    return (
        f"## {name}\n\n```python\nfrom {module} import {name}\n\n{head}\n```\n\n{prose(ast.get_docstring(found) or '')}"
    )
