"""`Materialize`: documents are written to disk here, so that what comes after can be done in several ways."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from tokenmill.core.stage import Annotate


class Materialize(Annotate):
    """Changes nothing: the plan cuts a phase before it, and what stands before is kept as files.

    Another run with the same stages before it can take these files instead of making them again
    (`tokenmill/executors/adopt.py`).
    """

    def annotate(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        return {}
