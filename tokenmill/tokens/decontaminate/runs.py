"""What a run has looked for, as its `run.json` says: whether what it did not find need not be looked for again."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from tokenmill.tokens.decontaminate.benchmarks import file_digests
from tokenmill.tokens.decontaminate.stage import DropContaminated, FindContamination, MaskContamination

_LEAVE_TEXT = frozenset({DropContaminated.name, "write_parquet", "write_tokens", "encode_text"})
"""Stages that may stand behind the search without another text in the end."""


def has_searched(
    recorded: Mapping[str, Any],
    against: Sequence[str],
    fields: Sequence[str] = (),
    *,
    min_share: float,
    min_13grams: int,
) -> bool:
    """Whether a run has looked for the items of these files, from thresholds on that are no higher.

    recorded: its `run.json`. False wherever that does not say so.
    """
    try:
        stages = recorded["stages"]
        names = [stage["stage"] for stage in stages]
        cls = next(cls for cls in (FindContamination, MaskContamination) if cls.name in names)
        place = names.index(cls.name)
        config, digests = stages[place]["config"], recorded["digests"][cls.name]
        return (
            stages[place]["version"] == cls.version
            and digests == {"unicode": unicodedata.unidata_version, **file_digests(against)}
            and list(config["fields"]) == list(fields)
            and config["min_share"] <= min_share
            and config["min_13grams"] <= min_13grams
            and _LEAVE_TEXT.issuperset(names[place + 1 :])
        )
    except (KeyError, TypeError, StopIteration):
        return False
