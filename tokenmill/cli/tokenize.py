"""`tokenmill tokenize`: the documents of a run become token shards."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tokenmill.cli.console import output_console, safe
from tokenmill.cli.recipes import import_stages
from tokenmill.cli.run import RunRequest, run_spec
from tokenmill.cli.train_bpe import TRAINED, TrainRequest, train_tokenizer
from tokenmill.core.errors import ConfigError
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import make_plan
from tokenmill.core.settings import parse_assignment
from tokenmill.core.stage import Stage
from tokenmill.executors.documents import documents_of
from tokenmill.executors.runspec import RUN_JSON, Options, RunSpec
from tokenmill.io.runfolder import RunFolder
from tokenmill.tokens.bpe import BpeSettings, train_bpe
from tokenmill.tokens.decontaminate.stage import decontamination
from tokenmill.tokens.tokenset import TokenSet
from tokenmill.tokens.write import WriteTokens


@dataclass(frozen=True)
class TokenizeRequest:
    """The arguments of `tokenmill tokenize`."""

    input: str
    """Folder of a finished run, or files with documents (Parquet, JSON Lines)."""
    output: str
    tokenizer: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of WriteTokens besides the tokenizer."""
    before: tuple[Stage, ...] = ()
    """Stages between reading and encoding, such as decontamination."""
    tags: tuple[str, ...] | None = None
    """Columns to carry into the tables of documents; None: all that hold numbers or short texts."""
    assignments: tuple[str, ...] = ()
    """`stage.field=value`, as with `tokenmill run --set`."""
    workers: int = -1
    executor: str = "local"
    ray_address: str | None = None
    log_json: str | None = None
    preflight: bool = True
    train: TrainRequest | None = None
    """A tokenizer to be trained on the documents, instead of `tokenizer`."""
    against: tuple[str, ...] = ()
    """Files of benchmarks that are kept out."""
    action: str = "drop"
    """What becomes of a document with an item of a benchmark: drop, mask or find."""


def tokenize(request: TokenizeRequest) -> int:
    """Encode, shuffle and write; tell what came of it; returns the exit code."""
    if request.train is not None:
        if request.tokenizer:
            raise ConfigError("--tokenizer and --train-bpe are two ways to say which tokenizer", fix="leave one out")
        request = replace(request, tokenizer=_trained(request, request.train))
    spec = tokenize_spec(request)
    code = run_spec(
        RunRequest(
            recipe=spec.plan.pipeline.name,
            input=request.input,
            output=request.output,
            workers=request.workers,
            executor=request.executor,
            ray_address=request.ray_address,
            log_json=request.log_json,
            preflight=request.preflight,
        ),
        spec,
    )
    if "://" not in request.output and (Path(request.output) / "tokens" / "manifest.json").is_file():
        tell_set(TokenSet.open(request.output))
    return code


def _trained(request: TokenizeRequest, train: TrainRequest) -> str:
    """The path of a tokenizer of the documents. What else is wrong with the request is told before it is made."""
    import_stages()
    folder = RunFolder(request.output)
    if folder.exists(RUN_JSON) and not folder.exists(TRAINED):
        raise ConfigError(
            f"{folder.location} holds another run", why="it has no tokenizer of its own", fix="choose another --output"
        )
    with tempfile.TemporaryDirectory() as place:
        stand_in = Path(place) / "tokenizer.json"
        least = BpeSettings(vocab_size=256 + len(train.settings.special_tokens), sample_bytes=1)
        named = replace(least, special_tokens=train.settings.special_tokens)
        stand_in.write_bytes(train_bpe((), named).canonical)
        tokenize_spec(replace(request, tokenizer=str(stand_in), train=None))
    _, inputs, source = documents_of(request.input, request.tags)
    return train_tokenizer(train, inputs, source, request.output)


def tokenize_spec(request: TokenizeRequest) -> RunSpec:
    """What `tokenmill tokenize` will run. ConfigError where the input is no finished run and no documents."""
    import_stages()
    if not request.tokenizer:
        raise ConfigError(
            "no tokenizer given",
            fix="--tokenizer PATH_OR_NAME (a tokenizer.json, a folder, a name on the hub), or --train-bpe 32000",
        )
    location, inputs, source = documents_of(request.input, request.tags)
    sink = WriteTokens(tokenizer=_absolute(request.tokenizer), **request.settings)
    cleaning = decontamination(request.against, request.action) if request.against else ()
    pipeline = Pipeline("tokenize", [source, *request.before, *cleaning, sink])
    pipeline = pipeline.with_settings([parse_assignment(text) for text in request.assignments])
    return RunSpec.of(make_plan(pipeline, inputs), Options(), location)


def _absolute(tokenizer: str) -> str:
    """A path as every worker can open it, wherever it stands; a hub name as it is."""
    path = Path(tokenizer).expanduser()
    return str(path.absolute()) if path.exists() else tokenizer


def tell_set(found: TokenSet) -> None:
    """What a token set holds, in a few lines."""
    manifest, console = found.manifest, output_console()
    text = manifest.tokens - (manifest.documents if manifest.tokenizer.eos_id is not None else 0)
    mean = text / max(1, manifest.documents)
    console.print(
        f"tokens   {manifest.tokens:,} in {len(manifest.shards)} shards of {manifest.dtype} ({manifest.layout}),"
        f" {manifest.documents:,} documents of {mean:,.0f} tokens",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"shards   {safe(str(found.folder))}/manifest.json", highlight=False, soft_wrap=True)
