"""Whether a token set is whole: `tokenmill tokenize --verify SET`."""

from __future__ import annotations

from tokenmill.cli.console import output_console, safe_line
from tokenmill.tokens.tokenset import TokenSet
from tokenmill.tokens.verify import problems_of

_SHOWN = 5


def verify_command(location: str, *, digests: bool = True) -> int:
    """Print what is wrong with a token set, as it is found; the exit code: 0 where it is whole, 1 where it is not.

    ConfigError where there is no set.
    """
    tokens = TokenSet.open(location)
    console = output_console()
    count = 0
    for problem in problems_of(tokens, digests=digests):
        count += 1
        console.print(safe_line(problem), highlight=False, soft_wrap=True)
    manifest = tokens.manifest
    empty = [shard.name for shard in manifest.shards if not shard.documents]
    if manifest.layout == "megatron" and empty:
        console.print(
            f"{len(empty):,} shards hold no documents, which Megatron cannot open; leave them out of the paths that it"
            f" is given: {safe_line(', '.join(empty[:_SHOWN]))}{', ...' if len(empty) > _SHOWN else ''}",
            highlight=False,
            soft_wrap=True,
        )
    holds = f"{manifest.tokens:,} tokens of {manifest.documents:,} documents in {len(manifest.shards):,} shards"
    looked = "every byte" if digests else "sizes, tables, ids"
    verdict = f"{count:,} problems" if count else f"whole ({looked})"
    console.print(f"{safe_line(str(tokens.folder))}: {holds}: {verdict}", highlight=False, soft_wrap=True)
    return 1 if count else 0
