"""How the rules of an annotated run overlap: what each removes, what only it removes, what two remove together.

Counted per shard while the documents pass, and kept in the manifest; reports add the shards up.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tokenmill.core.decide import holds
from tokenmill.core.plan import Plan, decides, verdict_column
from tokenmill.core.signals import is_signal
from tokenmill.core.stage import Filter, Stage


class OverlapCount:
    """Counts of one shard. A rule is named `<filter>.<reason>`; rules of a filter with one reason count as one."""

    def __init__(self, plan: Plan) -> None:
        annotation = plan.annotation
        enforced = annotation.enforce if annotation is not None else ()
        pairs = zip(plan.pipeline.labels, plan.pipeline.stages, strict=True)
        self._filters = [(label, s) for label, s in pairs if decides(s) and label not in enforced]
        self._overwritten = {
            label: {name for later in plan.pipeline.stages[place + 1 :] for name in later.columns_added()}
            for place, label in enumerate(plan.pipeline.labels)
        }
        self._measured = {label: about.measured for phase in plan.phases for label, about in phase.rules.items()}
        self.documents = self.kept = 0
        self.first: Counter[str] = Counter()
        self.only: Counter[str] = Counter()
        self.pairs: Counter[tuple[str, str]] = Counter()

    def add(self, batch: pa.RecordBatch) -> None:
        """Count a batch of annotated documents."""
        found: dict[str, npt.NDArray[np.bool_]] = {}
        first = np.full(batch.num_rows, "", object)
        for label, stage in self._filters:
            verdicts = batch.column(verdict_column(label))
            for row, reason in enumerate(verdicts.to_pylist()):
                if reason is not None and first[row] == "":
                    first[row] = f"{label}.{reason}"
            for reason, held in self._held(label, stage, batch, verdicts).items():
                key = f"{label}.{reason}"
                found[key] = found[key] | held if key in found else held
        self.documents += batch.num_rows
        self.first.update(key for key in first.tolist() if key)
        names = [name for name, held in found.items() if held.any()]
        if not names:
            self.kept += batch.num_rows
            return
        matrix = np.stack([found[name] for name in names]).astype(np.int64)
        hits = matrix.sum(axis=0)
        self.kept += int((hits == 0).sum())
        together = matrix @ matrix.T
        alone = matrix @ (hits == 1).astype(np.int64)
        for i, name in enumerate(names):
            self.only[name] += int(alone[i])
            for j in range(i + 1):
                if together[i, j]:
                    self.pairs[name, names[j]] += int(together[i, j])

    def _held(
        self, label: str, stage: Stage, batch: pa.RecordBatch, verdicts: pa.Array
    ) -> dict[str, npt.NDArray[np.bool_]]:
        """Per reason the documents that the filter would remove for it."""
        measured = self._measured.get(label, {})
        rules = stage.rules() if isinstance(stage, Filter) and stage.decides_by_rules else ()
        used = {measured.get(name, name) for rule in rules if rule.active for name in (rule.signal, rule.by)}
        if not rules or used & self._overwritten[label]:  # only the verdict is what it was
            reasons = verdicts.to_pylist()
            names = {reason for reason in reasons if reason is not None}
            return {name: np.array([reason == name for reason in reasons]) for name in sorted(names)}

        def column(name: str) -> pa.Array:
            return batch.column(measured.get(name, name) if is_signal(name) else name)

        found: dict[str, npt.NDArray[np.bool_]] = {}
        for rule in rules:
            if rule.active:
                held = holds(rule, column).to_numpy(zero_copy_only=False)
                found[rule.reason] = found[rule.reason] | held if rule.reason in found else held
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain values for a manifest. A pair of a rule with itself is what the rule removes."""
        return {
            "documents": self.documents,
            "kept": self.kept,
            "first": dict(sorted(self.first.items())),
            "only": dict(sorted(self.only.items())),
            "pairs": [[a, b, n] for (a, b), n in sorted(self.pairs.items())],
        }
