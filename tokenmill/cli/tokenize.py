"""`tokenmill tokenize`: the documents of a run become token shards."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tokenmill.cli.console import output_console, safe
from tokenmill.cli.recipes import import_stages
from tokenmill.cli.run import RunRequest, run_spec
from tokenmill.cli.train_bpe import TRAINED, TrainRequest, train_tokenizer
from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import make_plan
from tokenmill.core.schema import DOC_ID, FINEWEB, INTERNAL, PROVENANCE
from tokenmill.core.settings import parse_assignment
from tokenmill.core.stage import InputShard, Source, Stage
from tokenmill.executors.runspec import RUN_JSON, Options, RunSpec
from tokenmill.executors.steps import SUCCESS_JSON
from tokenmill.io.filesystem import list_inputs, open_input
from tokenmill.io.jsonl import ReadJsonl, scalar_keys
from tokenmill.io.parquet import ReadParquet
from tokenmill.io.runfolder import RunFolder
from tokenmill.tokens.bpe import BpeSettings, train_bpe
from tokenmill.tokens.decontaminate.stage import decontamination
from tokenmill.tokens.tokenset import TokenSet
from tokenmill.tokens.write import RESERVED, WriteTokens

_CARRIED = FINEWEB.keys() | PROVENANCE.keys() | {DOC_ID}
_NOT_CARRIED = RESERVED | INTERNAL.keys()
"""Names of columns that mean something else on the way."""


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


def documents_of(location: str, tags: Sequence[str] | None = None) -> tuple[str, list[InputShard], Source]:
    """(where, which files, what reads them) for documents: those of a finished run, or of files.

    tags: columns that are carried along besides the usual ones; None: all numbers and texts of the first file.
    """
    run = RunFolder(location).read_json(RUN_JSON) if not _is_file(location) else None
    if run is not None:
        _check_finished(RunFolder(location), run)
        location = RunFolder(location).path("data")
    inputs = list_inputs(location, (*ReadParquet.suffixes, *ReadJsonl.suffixes))
    endings = {ending for ending in (".parquet", ".json") for shard in inputs if _is_kind(shard.name, ending)}
    if len(endings) != 1:
        raise ConfigError(
            f"{location} holds files of {len(endings)} kinds",
            why="documents are Parquet or JSON Lines, and not both",
            fix="give a pattern, such as 'folder/*.parquet'",
        )
    if endings == {".json"}:
        return location, inputs, _jsonl_reader(inputs[0], tags)
    return location, inputs, _reader(inputs[0], tags)


def _is_file(location: str) -> bool:
    return "://" not in location and not Path(location).is_dir()


def _is_kind(name: str, ending: str) -> bool:
    return name.endswith(".parquet") == (ending == ".parquet")


def _check_finished(folder: RunFolder, run: Mapping[str, Any]) -> None:
    if run["mode"] == "annotate":
        raise ConfigError(
            f"{folder.location} is an annotated run: nothing has been dropped from it",
            fix="tokenmill refilter makes filtered data of it; to tokenize everything, give its data/ folder",
        )
    for phase in run["phases"]:
        if not folder.exists(f"phases/{phase['directory']}/{SUCCESS_JSON}"):
            raise ConfigError(
                f"the run in {folder.location} is not finished",
                why=f"phase {phase['directory']} is not complete",
                fix="run its command again; or give its data/ folder to take what is there",
            )


def _reader(shard: InputShard, tags: Sequence[str] | None) -> Source:
    """ReadParquet with the columns that the first file has."""
    with open_input(shard) as stream:
        schema = pq.ParquetFile(stream).schema_arrow
    further = {name: schema.field(name).type for name in schema.names if name not in _CARRIED}
    if tags is None:  # what cannot go along stays behind
        further = {name: dtype for name, dtype in further.items() if name not in _NOT_CARRIED}
    else:
        for name in tags:
            _check_tag(name, schema, shard.name)
        further = {name: dtype for name, dtype in further.items() if name in tags}
    numbers = [name for name, dtype in further.items() if _is_number(dtype)]
    texts = [name for name, dtype in further.items() if _is_text(dtype)]
    return ReadParquet(signals=tuple(numbers), tags=tuple(texts))


def _is_number(dtype: pa.DataType) -> bool:
    return pa.types.is_floating(dtype) or pa.types.is_integer(dtype)


def _is_text(dtype: pa.DataType) -> bool:
    if pa.types.is_dictionary(dtype):
        return _is_text(dtype.value_type)
    return pa.types.is_string(dtype) or pa.types.is_large_string(dtype) or pa.types.is_boolean(dtype)


def _check_tag(name: str, schema: pa.Schema, where: str) -> None:
    """Whether a column that was asked for can go along. ConfigError otherwise."""
    if name not in schema.names:
        raise ConfigError(f"{where} has no column {name!r}", why=did_you_mean(name, schema.names))
    dtype = schema.field(name).type
    if name in _NOT_CARRIED or not (name in _CARRIED or _is_number(dtype) or _is_text(dtype)):
        why = "its name means something else here" if name in _NOT_CARRIED else f"it is of type {dtype}"
        raise ConfigError(
            f"the column {name!r} of {where} cannot go along with the tokens",
            why=why,
            fix="tags are columns of numbers or text, of other names than those of the tables of documents",
        )


def _jsonl_reader(shard: InputShard, tags: Sequence[str] | None) -> Source:
    """ReadJsonl with the keys that the first objects have, numbers as numbers; `tags` may come later in the files."""
    try:
        numbers, texts = scalar_keys(shard)
    except (OSError, EOFError):
        numbers, texts = (), ()  # the run says what is wrong with the file
    for name in tags or ():
        if name in _NOT_CARRIED:
            _check_tag(name, pa.schema([(name, pa.string())]), shard.name)
    known = dict.fromkeys((*numbers, *texts) if tags is None else tags)
    wanted = [name for name in known if name and name not in _CARRIED and name not in _NOT_CARRIED]
    return ReadJsonl(
        signals=tuple(name for name in wanted if name in numbers),
        tags=tuple(name for name in wanted if name not in numbers),
    )


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
