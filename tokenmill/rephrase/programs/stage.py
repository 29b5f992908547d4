"""The stage that cleans pages by rule-made edit programs, or says what they would do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import pyarrow as pa

from tokenmill.core.doc import Doc
from tokenmill.core.rule import Drop
from tokenmill.core.stage import Rewrite
from tokenmill.rephrase.programs.execute import Guards, execute
from tokenmill.rephrase.programs.rules import PHRASES, RULES, rule_program
from tokenmill.text.pii.scan import library_version


class EditLines(Rewrite):
    """Removes lines that are no content: cookie notices, menus, calls to share or subscribe, repeats.

    The lines are found by rules (docs/edit-programs.md) and removed by an edit program, which is kept with the
    document: `undo` on the differences of the program gives the original back. A page of which hardly a word would be
    left is dropped.
    """

    name = "edit_lines"
    reads = ("text",)
    adds: ClassVar[Mapping[str, pa.DataType]] = {
        "edit_operations": pa.string(),
        "edit_removed_share": pa.float64(),
    }

    rules: tuple[str, ...] = RULES
    """Rules that look for lines, in the order in which they are tried: cookie_notice, navigation, call_to_action,
    rights, repeated_line, short_run."""
    dry_run: bool = False
    """Write what would be done into the columns, and leave text and page as they are."""
    least_words_share: float = 0.05
    """Words left, as a share of those before; a page with as many or fewer is dropped. Source: ProX."""
    least_words: int = 10
    """Words left; a page with as many or fewer is dropped. Unit: words. Source: ProX."""

    def setup(self) -> None:
        rule_program("", self.rules)
        _ = self._guards

    def digests(self) -> Mapping[str, str]:
        rule_program("", self.rules)  # a wrong name is told before any work begins
        _ = self._guards
        phrases = hashlib.sha256(PHRASES.read_bytes()).hexdigest()
        return {"phrases of boilerplate": phrases, "scanner of personal data": library_version()}

    @cached_property
    def _guards(self) -> Guards:
        return Guards(least_words_share=self.least_words_share, least_words=self.least_words)

    def rewrite(self, doc: Doc) -> Mapping[str, Any] | Drop:
        program = rule_program(doc.text, self.rules)
        edited = execute(doc.text, program, self._guards)
        said = [one.to_json() for one in edited.applied]
        if edited.dropped:
            said.append({"op": "drop", "reason": edited.reason})
        columns = {
            "edit_operations": json.dumps(said, sort_keys=True, ensure_ascii=False),
            "edit_removed_share": edited.removed_share,
        }
        if self.dry_run:
            return columns
        if edited.dropped:
            return Drop(edited.reason)
        return {"text": edited.text, **columns} if edited.diff else columns
