"""`Scorer`: the contract of stages that give every text a score, such as classifiers of quality or toxicity.

A scorer adds columns of numbers and decides nothing; a filter with a rule on a column does (`ToxicityFilter`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tokenmill.core.errors import ConfigError
from tokenmill.core.stage import Annotate


class Scorer(Annotate):
    """Scores texts. A sub-class declares its columns in `adds`, and has `score` and `model_digest`.

    Columns are floating-point numbers, and strings for the names of classes (the likeliest topic).

    A text that is null gets null scores without being shown to the model. Scores that are not finite are the
    document's fault: it goes to quarantine, the others are scored. A scorer may leave a text without a score where
    there is nothing to judge (no words): it gives pyarrow arrays, in which that text is null.
    """

    reads = ("text",)

    @abstractmethod
    def score(self, texts: Sequence[str]) -> Mapping[str, Sequence[Any]]:
        """For each declared column one value per text, as a sequence or a numpy array of one dimension."""

    def score_column(self, texts: pa.Array) -> Mapping[str, Sequence[Any]]:
        """The same for texts as an Arrow array (string or large_string) without nulls, for models that read those."""
        return self.score(texts.to_pylist())

    @abstractmethod
    def model_digest(self) -> str:
        """What tells this model from any other: the SHA-256 of its files, hexadecimal. Called by the plan."""

    def digests(self) -> Mapping[str, str]:
        self._check_types()
        return {"model": self.model_digest()}

    def annotate(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        column = batch.column("text")
        texts = column.drop_null()
        scores = self.score_column(texts) if len(texts) else {name: () for name in self.columns_added()}
        declared = self.columns_added()
        if set(scores) != set(declared):
            raise ConfigError(f"{self.name} scored the columns {sorted(scores)}", why=f"it declares {sorted(declared)}")
        # where each row's text stands among those that were scored; null where the row has no text
        valid = column.is_valid()
        places = pc.if_else(valid, pc.subtract(pc.cumulative_sum(valid.cast(pa.int64())), 1), None)
        return {name: self._checked(name, scores[name], len(texts)).take(places) for name in declared}

    def _checked(self, name: str, scores: Any, count: int) -> pa.Array:
        """The scores of one column as an array of its type: one finite number, or name, per text."""
        may_be_null = isinstance(scores, pa.Array)
        shape = tuple(scores.shape) if hasattr(scores, "shape") else (len(scores),)
        if shape != (count,):
            raise ConfigError(
                f"{self.name} scored {name} in the shape {shape}",
                why=f"there are {count} texts",
                fix="one number per text",
            )
        array = pa.array(scores, from_pandas=False).cast(self.columns_added()[name])
        if not pa.types.is_floating(array.type):
            return array
        finite = pc.is_finite(array).fill_null(may_be_null)
        if count and not pc.all(finite).as_py():
            value = array[pc.index(finite, False).as_py()].as_py()
            raise ValueError(f"{name} = {value} is no finite number")
        return array

    def _check_types(self) -> None:
        declared = self.columns_added()
        fits = (pa.types.is_floating, pa.types.is_string)
        wrong = [name for name, dtype in declared.items() if not any(fit(dtype) for fit in fits)]
        if wrong or not declared:
            raise ConfigError(
                f"{self.name} declares {wrong or 'no column'} as scores",
                why="scores are floating-point columns, names of classes are strings",
                fix='adds = {"my_score": pa.float64()}',
            )
