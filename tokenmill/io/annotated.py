"""`ReadAnnotated`: the documents of an annotated run, for filtering them again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from tokenmill.core.errors import ShardError
from tokenmill.core.schema import DOC_ID, INTERNAL, SOURCE_ROWS
from tokenmill.core.stage import InputShard, Skips, Source
from tokenmill.io.filesystem import open_binary
from tokenmill.io.runfolder import RunFolder


class ReadAnnotated(Source):
    """Documents of a run in annotate mode with all their columns.

    What that run could not bring to an end (records without a document, pages without text, quarantine) is
    counted again under the reason `<stage>.<reason>`, so that every record stays accounted for.
    """

    adds: ClassVar[Mapping[str, pa.DataType]] = {DOC_ID: INTERNAL[DOC_ID]}
    offsets_are_bytes: ClassVar[bool] = True

    run: str
    """Folder of the annotated run."""

    def read(self, shard: InputShard, skip: Skips) -> Iterator[pa.RecordBatch]:
        folder = RunFolder(self.run)
        phases = [phase for phase in folder.read_json("run.json")["phases"] if not phase.get("step")]
        slug = shard.path.rpartition("/data/")[2].removesuffix(".parquet")
        for number, phase in enumerate(phases):
            manifest = folder.manifest(phase["directory"], slug)
            if manifest is None:
                raise ShardError(f"shard {slug} of {self.run} is gone", fix="run the annotated run again")
            self._skip_ended(folder, manifest, number, skip)
        with open_binary(shard.path) as stream:
            yield from pq.ParquetFile(stream).iter_batches(batch_size=SOURCE_ROWS)

    def _skip_ended(self, folder: RunFolder, manifest: Mapping[str, Any], phase: int, skip: Skips) -> None:
        """Tell every document that ended in a phase, and the records that are only counted."""
        listed: Counter[str] = Counter()
        for file in manifest["files"]:
            if file["kind"] not in ("dropped", "quarantine"):
                continue
            reason = "reason" if file["kind"] == "dropped" else "cause"
            with open_binary(folder.path(file["path"])) as stream:
                rows = pq.read_table(stream, columns=[*_LISTED, reason]).to_pylist()
            for row in rows:
                listed[f"{row['stage']}.{row[reason]}"] += 1
                skip(
                    f"{row['stage']}.{row[reason]}",
                    id=row["id"] or "",
                    url=row["url"] or "",
                    offset=-1 if row["warc_offset"] is None else row["warc_offset"],
                    length=-1 if row["warc_length"] is None else row["warc_length"],
                    detail=row["detail"] or "",
                )
        if phase:
            return
        source = manifest["stages"][0]
        for reason, count in source["dropped"].items():
            for _ in range(count - listed[f"{source['stage']}.{reason}"]):
                skip(reason)


_LISTED = ["id", "url", "warc_offset", "warc_length", "stage", "detail"]
