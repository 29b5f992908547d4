"""Steps of other projects as stages: `DatatroveFilter` and `DatatroveRewrite` run those of datatrove."""

from __future__ import annotations

from tokenmill.interop.datatrove import DatatroveFilter, DatatroveRewrite, from_datatrove

__all__ = ["DatatroveFilter", "DatatroveRewrite", "from_datatrove"]
