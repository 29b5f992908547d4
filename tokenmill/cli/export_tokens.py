"""`tokenmill export`: a finished token set in the layout of MosaicML streaming or litdata."""

from __future__ import annotations

from tokenmill.cli.console import output_console, safe_line
from tokenmill.io.units import parse_size
from tokenmill.tokens.export import export_set


def export_command(
    location: str, output: str, *, format: str, sequence_length: int = 0, file_size: str = "64MB"
) -> None:
    """Write a set as samples into a new folder, and say what is in it. ConfigError as in `export_set`."""
    manifest = export_set(
        location, output, layout=format, sequence_length=sequence_length, shard_bytes=parse_size(file_size)
    )
    more = manifest.more
    kind = f"of {sequence_length:,} tokens" if sequence_length else "of one document"
    console = output_console()
    console.print(
        f"{safe_line(output)}: {manifest.tokens:,} tokens in {more['samples']:,} samples {kind},"
        f" {len(manifest.shards[0].files):,} files ({format})",
        highlight=False,
        soft_wrap=True,
    )
    if more["tokens_left_out"]:
        console.print(f"{more['tokens_left_out']:,} tokens at the end fill no sample and are left out", highlight=False)
