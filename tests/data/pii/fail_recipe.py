"""A recipe whose redaction fails on some documents as their text says. Used by the tests of the stage."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from tokenmill import Doc, Pipeline, RedactPii
from tokenmill.core.rule import Drop
from tokenmill.io.jsonl import ReadJsonl
from tokenmill.io.parquet import WriteParquet


class FailingRedaction(RedactPii):
    """Redacts, unless the text begins with the name of a failure."""

    def rewrite(self, doc: Doc) -> Mapping[str, Any] | Drop:
        if doc.text.startswith("raise"):
            raise RuntimeError("a library failed")
        if doc.text.startswith("sleep"):
            time.sleep(3600)
        while doc.text.startswith("spin"):
            pass
        return super().rewrite(doc)


failing = Pipeline("failing", [ReadJsonl(), FailingRedaction(), WriteParquet()])
strict = Pipeline("strict", [ReadJsonl(), RedactPii(level="strict"), WriteParquet()])
