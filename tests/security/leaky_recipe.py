"""A recipe whose stage holds a key and tells it: settings, errors of documents, errors of the stage itself."""

from __future__ import annotations

import os

from tokenmill import Doc, Filter, Pipeline
from tokenmill.io.parquet import WriteParquet
from tokenmill.io.warc import ReadWarc


class Leaky(Filter):
    """Fails with its key in the message."""

    reads = ("url",)

    endpoint: str = ""
    """Address of a service."""

    def judge(self, doc: Doc) -> str | None:
        key = os.environ["SERVICE_API_KEY"]
        if "raise" in (doc["url"] or ""):
            raise ValueError(f"403 for key {key} at {self.endpoint}")
        if "drop" in (doc["url"] or ""):
            return "refused"
        return None


class LeakySetup(Leaky):
    """Fails before the first document."""

    def setup(self) -> None:
        raise RuntimeError(f"login with {os.environ['SERVICE_API_KEY']} failed")


leaky = Pipeline("leaky", [ReadWarc(html_only=False), Leaky(), WriteParquet()])
broken = Pipeline("broken", [ReadWarc(html_only=False), LeakySetup(), WriteParquet()])
