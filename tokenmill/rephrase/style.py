"""Styles: what a model is told to make of a passage. Each is a file, `prompts/<name>.md`; a user adds one likewise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tokenmill.core.rule import Rule

KINDS = ("rewrite", "create", "edit")
LAYOUTS = ("document_last", "document_first")


@dataclass(frozen=True)
class Style:
    """A prompt with its budgets, the form of its answers and the thresholds that these must keep."""

    name: str
    version: int
    title: str
    """One line for listings."""
    kind: str
    """rewrite: the passage in other words; create: a new text inspired by it; edit: a program of operations."""
    system: str
    """System message; "" for none."""
    prompt: str
    """User message: the text of the file, with {document} and the names of `variables` in braces."""
    digest: str
    """SHA-256 of the file. Requests depend only on what the model sees (`render.prompt_digest`)."""
    input_tokens: int
    """Most tokens of a passage."""
    output_tokens: int
    """Most tokens of an answer."""
    min_tokens: int = 30
    """Passages below this are not asked about."""
    per: str = "passage"
    """passage: one row per passage; document: the answers of a document's passages are stitched into one row."""
    layout: str = "document_last"
    """Where the page stands in the prompt. document_first: several styles of one page share a cached prefix."""
    format: Mapping[str, Any] = field(default_factory=lambda: {"kind": "plain"})
    """How an answer is read (`formats.py`)."""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Name -> values, of which one is drawn for each passage by a hash of seed, document and name (audiences)."""
    rules: tuple[Rule, ...] = ()
    """When an answer is rejected: comparisons of columns `check_*` (`checks`) with thresholds."""
    source: str = ""
    """Paper or data set that the recipe follows."""
    missing: str = "drop_passage"
    """What becomes of a document when one of its passages has no answer (`stitch.py`): drop_passage, drop_document, or
    keep_source, which puts the passage in as it was."""
