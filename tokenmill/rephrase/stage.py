"""The sink `WriteRephrased`: documents become passages, passages become requests, answers become checked rows.

While documents pass, each shard leaves `data/<shard>.parquet` (the documents) and its passages. Then come the steps:
`generate` asks a model, one task for each range of passages, with answers kept in a ledger; `outputs` reads, stitches
and checks them, one task for each shard, into `rephrased/data/` and, with the reason, `rephrased/rejected/`; `judge`
asks about a sample whether outputs say what their sources say; `corpus` measures what only many outputs show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from tokenmill.core.barrier import TaskOutput, Work
from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.core.stage import ShardWriter, SteppedSink
from tokenmill.io.parquet import verify_parquet
from tokenmill.rephrase.counting import Counter
from tokenmill.rephrase.engines.base import Identity
from tokenmill.rephrase.routes import Routes
from tokenmill.rephrase.style import Style
from tokenmill.rephrase.styles import load_style

PLACE = "rephrased"
"""Folder of a run with what models have made of its documents: data/, rejected/, judged/, corpus.json."""
PER_TASK = 8192
"""Passages of a task of the step `generate`: little enough to hold in memory, and to lose to a dead machine."""
MOST_TASKS = 1 << 16
RETRIED = (
    "length",
    "parse",
    "empty",
    "refusal",
    "content_filter",
    "bad_request",
    "context",
    "server",
    "budget",
)
"""Kinds of failures of requests."""


class WriteRephrased(SteppedSink):
    """Texts that a model has made of the documents, checked, with their whole history; and the documents."""

    reads = ("doc_id", "text")
    takes: ClassVar[tuple[str, ...]] = ("doc_id",)
    extension: ClassVar[str] = ".parquet"
    place: ClassVar[str] = PLACE
    published: ClassVar[Mapping[str, str]] = {
        "rephrased": "data",
        "rejected": "rejected",
        "judged": "judged",
        "corpus": "",
    }
    beside: ClassVar[Mapping[str, str]] = {"passages": ".parquet"}
    steps: ClassVar[tuple[str, ...]] = ("generate", "outputs", "judge", "corpus")
    incidental: ClassVar[frozenset[str]] = frozenset(
        {
            "base_url",
            "serve",
            "serve_env",
            "serve_seconds",
            "api_key_env",
            "allow_hosts",
            "allow_http",
            "concurrency",
            "timeout",
            "tries",
            "give_up_seconds",
            "price_in",
            "price_out",
            "price_hour",
            "max_tokens",
            "max_cost",
            "when_spent",
            "ledger",
            "retry",
            "device",
        }
    )

    styles: tuple[str, ...] = ()
    """Styles for every document: names (`tokenmill rephrase --styles`) or paths of prompt files."""
    by: str = ""
    """Column that decides on the styles of a document; empty: `styles` for all."""
    routes: dict[str, Any] = field(default_factory=dict)
    """Value of that column -> list of styles; `styles` for values that are not named. An empty list asks nothing."""
    edges: tuple[float, ...] = ()
    """For a column of numbers: rising edges of bins, whose numbers from 0 are then the values."""
    model: str = ""
    """Name of the model, as the server knows it; with engine `local` a folder or a name on the hub."""
    revision: str = ""
    """Commit or version of the model. Another one never gets the answers of this one."""
    weights: str = ""
    """Folder with the weights that the server has loaded, where it lies on this machine: their digest is recorded."""
    generator_license: str = ""
    """Licence of the model, recorded with every row: some models' outputs carry terms."""
    engine: str = "server"
    """server: one that runs (`base_url`); serve: one that is started here (`serve`); local: in this process."""
    sampling: dict[str, Any] = field(default_factory=dict)
    """Changes to the settings of the styles, such as temperature or top_p; null removes one."""
    seed: int = 0
    """Seed of requests, and of what styles draw for a passage (audience, persona)."""
    tokenizer: str = ""
    """tokenizer.json of the model, to count tokens; empty: they are estimated from bytes and script."""
    keep_documents: bool = True
    """Whether `data/` has the texts of the documents as well."""
    carry: tuple[str, ...] = ()
    """Columns of the documents that outputs get too, such as topics and scores; that of `by` always."""
    similarity: str = ""
    """Folder of an encoder for the check of meaning (cosine of embeddings); empty: not measured."""
    judge_share: float = 0.0
    """Share of accepted outputs that the model judges against their source, chosen by hash."""
    judge_model: str = ""
    """Model of the same server that judges; empty: `model`."""
    sample_documents: int = 100_000
    """Most outputs that the corpus-level measurements of near-duplicates hold in memory, chosen by hash."""

    base_url: str = ""
    """Address of the server up to and with its version: http://localhost:8000/v1."""
    serve: str = ""
    """Command that starts a server: "vllm serve {model} --port {port}", which may be one of another environment."""
    serve_env: dict[str, str] = field(default_factory=dict)
    """Environment variables of that server; "$NAME" stands for the value that NAME has here, so that no secret is
    written down. Keys and tokens are not handed on otherwise."""
    serve_seconds: float = 900.0
    """Seconds that this server may take to start."""
    api_key_env: str = ""
    """Environment variable with the API key; empty: OPENAI_API_KEY where that is set."""
    allow_hosts: tuple[str, ...] = ()
    """Hosts to which texts may go, besides this machine; empty: that of `base_url`. $TOKENMILL_LLM_HOSTS is a second
    list, for a whole site."""
    allow_http: bool = False
    """Whether texts may go to another machine without encryption, as inside a cluster."""
    concurrency: int = 256
    """Most requests under way at once in each worker; fewer where the server slows down."""
    timeout: float = 300.0
    """Seconds for one request."""
    tries: int = 8
    """Failures in a row after which a request is given up."""
    give_up_seconds: float = 900.0
    """Seconds without any answer after which the run stops; the same command goes on."""
    price_in: float = 0.0
    """US dollars for a million tokens of prompts."""
    price_out: float = 0.0
    """US dollars for a million tokens of answers."""
    price_hour: float = 0.0
    """US dollars for an hour of the machines that answer: for forecasts of servers of one's own."""
    max_tokens: int = 0
    """Tokens, of prompts and answers of this run together, at which it stops; 0: no limit."""
    max_cost: float = 0.0
    """US dollars at which it stops; 0: no limit. Requests under way come on top."""
    when_spent: str = "stop"
    """stop: the run ends with exit code 75, and goes on with a larger limit; publish: what is there is published, and
    the rest is rejected with the reason `budget`."""
    ledger: str = ""
    """Folder of answers, which several runs and recipes may share; empty: `ledger` in the output."""
    retry: tuple[str, ...] = ()
    """Kinds of failures that are asked again though the ledger has them: length, parse, refusal, ... (`RETRIED`)."""
    device: str = "auto"
    """Of engine `local`: auto, cpu, cuda."""

    def describe(self) -> Sequence[str]:
        told = [f"{self.identity.model or 'no model'}: {', '.join(s.name for s in self.all_styles.values())}"]
        if self.by:
            told.append(f"by {self.by}: " + "; ".join(f"{k} -> {', '.join(v) or '-'}" for k, v in self.routes.items()))
        return told

    def ready(self, folder: str) -> None:
        from tokenmill.rephrase.asking import ready

        ready(self, folder)

    def announces(self) -> Sequence[str]:
        from tokenmill.rephrase.asking import destination

        return (destination(self),)

    def begins(self, step: str, work: Work) -> str:
        from tokenmill.rephrase.asking import amount

        return amount(self, work) if step == "generate" else ""

    def progress(self, step: str, folder: str, fingerprint: str) -> str:
        from tokenmill.rephrase.asking import told_spent

        return told_spent(self, folder, fingerprint) if step in ("generate", "judge") else ""

    def digests(self) -> Mapping[str, str]:
        from tokenmill.rephrase.checks.run import checks_digest
        from tokenmill.rephrase.engines.digests import model_digests

        _check(self)
        found = {f"style {style.name}": style.digest for style in self.all_styles.values()}
        identity = {f"model {k}": v for k, v in self.identity.to_json().items() if v}
        if self.similarity:
            found["similarity"] = model_digests(self.similarity)[0]
        return {**found, **identity, **checks_digest(), "tokens": self.counter.digest}

    def files(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for name in self._named if name.endswith(".md") and Path(name).is_file()))

    def check(self, types: Mapping[str, pa.DataType]) -> None:
        for name in (self.by, *self.carry):
            if name and name not in types:
                raise ConfigError(
                    f"there is no column {name!r} where documents are rephrased",
                    why=did_you_mean(name, types),
                    fix="--set write_rephrased.by=NAME (or carry)",
                )

    @property
    def _named(self) -> list[str]:
        routed = [name for names in self.routes.values() for name in names]
        return [*self.styles, *routed]

    @cached_property
    def all_styles(self) -> Mapping[str, Style]:
        """Name or path, as the settings say it -> style."""
        return {name: load_style(name) for name in dict.fromkeys(self._named)}

    @cached_property
    def styles_by_name(self) -> Mapping[str, Style]:
        """Name in the columns -> style."""
        return {style.name: style for style in self.all_styles.values()}

    @cached_property
    def router(self) -> Routes:
        """Which styles a document gets."""
        return Routes(by=self.by, styles=self.routes, default=self.styles, edges=self.edges)

    @cached_property
    def counter(self) -> Counter:
        """Counts tokens of passages."""
        return Counter(self.tokenizer)

    @cached_property
    def identity(self) -> Identity:
        """Which model answers."""
        from tokenmill.rephrase.asking import identity_of

        return identity_of(self)

    def setup(self) -> None:
        _ = self.all_styles, self.counter

    def open(self, paths: Mapping[str, str], schema: pa.Schema) -> ShardWriter:
        from tokenmill.rephrase.cutting import PassageWriter

        return PassageWriter(paths, schema, self)

    def verify(self, path: str, rows: int) -> None:
        verify_parquet(path, rows)

    def size(self, work: Work) -> int:
        return sum(int(shard.facts["asked"]) for shard in work.shards)

    def tasks(self, step: str, work: Work) -> Sequence[str]:
        if step == "generate":
            _check_routed(self, work)
            return [f"{first}-{last}" for first, last in ranges(self.size(work))]
        if step == "outputs":
            return [shard.slug for shard in work.shards]
        if step == "judge":
            return ["sample"] if self.judge_share else []
        return ["corpus"]

    def run_task(self, step: str, number: int, work: Work, out: TaskOutput) -> Mapping[str, Any]:
        if step == "generate":
            from tokenmill.rephrase.generate import generate

            return generate(self, ranges(self.size(work))[number], work, out)
        if step == "outputs":
            from tokenmill.rephrase.outputs import write_outputs

            return write_outputs(self, number, work, out)
        if step == "judge":
            from tokenmill.rephrase.judging import judge_sample

            return judge_sample(self, work, out)
        from tokenmill.rephrase.corpus_step import write_corpus

        return write_corpus(self, work, out)


def ranges(requests: int) -> list[tuple[str, str]]:
    """(first, last) of `part`, four hexadecimal digits each, for the tasks of so many requests; a power of two."""
    count = 1
    while count < MOST_TASKS and requests > count * PER_TASK:
        count *= 2
    width = (1 << 16) // count
    return [(f"{number * width:04x}", f"{(number + 1) * width - 1:04x}") for number in range(count)]


def _check(stage: WriteRephrased) -> None:
    """ConfigError for settings that cannot work, before any work."""
    if not stage.all_styles:
        raise ConfigError("no style is named", fix="--set write_rephrased.styles=wikipedia,diverse_qa")
    if stage.by and not stage.routes:
        raise ConfigError("`by` without `routes` decides nothing", fix='routes: {"low": ["wikipedia"], ...}')
    names: dict[str, str] = {}
    for given, style in stage.all_styles.items():
        if stage.all_styles[names.setdefault(style.name, given)].digest == style.digest and names[style.name] != given:
            raise ConfigError(f"{names[style.name]!r} and {given!r} are one style", fix="name it once, in one way")
    if len(stage.styles_by_name) < len({style.digest for style in stage.all_styles.values()}):
        raise ConfigError("two prompt files have one name", fix="rename one: the name stands in the column `style`")
    for name, allowed in (("engine", ("server", "serve", "local")), ("when_spent", ("stop", "publish"))):
        if getattr(stage, name) not in allowed:
            raise ConfigError(f"no {name} {getattr(stage, name)!r}", fix=f"one of {', '.join(allowed)}")
    if (stage.serve or stage.serve_env) and stage.engine != "serve":
        raise ConfigError("a command of a server belongs to engine=serve", fix="--set write_rephrased.engine=serve")
    if not stage.model:
        raise ConfigError("no model is named", fix="--model NAME, or --set write_rephrased.model=NAME")
    if not 0 <= stage.judge_share <= 1:
        raise ConfigError(f"judge_share = {stage.judge_share} is no share", fix="a number from 0 to 1")
    if min(stage.concurrency, stage.tries, stage.timeout) < 1 or stage.sample_documents < 1:
        raise ConfigError("concurrency, tries, time-out and sample_documents are at least 1")
    if min(stage.price_in, stage.price_out, stage.price_hour, stage.max_tokens, stage.max_cost) < 0:
        raise ConfigError("a price or limit is negative", fix="0 for none")
    if stage.max_cost and not stage.price_in + stage.price_out:
        raise ConfigError("max_cost without prices stops nothing", fix="price_in, price_out: dollars per million")
    for kind in stage.retry:
        if kind not in RETRIED:
            raise ConfigError(f"retry: no failure is of the kind {kind!r}", why=did_you_mean(kind, RETRIED))
    if stage.serve_seconds <= 0:
        raise ConfigError(f"serve_seconds = {stage.serve_seconds} leaves a server no time to start")
    if stage.similarity:
        from tokenmill.rephrase.checks.similarity import Similarity

        Similarity(stage.similarity)  # tells of a folder without an encoder
    if not stage.keep_documents and stage.judge_share:
        raise ConfigError("a judge needs the texts of the documents", fix="keep_documents=true, or judge_share=0")
    if not stage.keep_documents and any(style.kind == "edit" for style in stage.all_styles.values()):
        raise ConfigError("edits need the texts of the documents", fix="keep_documents=true")
    reserved = {"model", "messages", "stream", "n", "max_tokens", "seed"} & stage.sampling.keys()
    if reserved:
        raise ConfigError(f"sampling cannot set {', '.join(sorted(reserved))}", fix="budgets are the styles'")


def _check_routed(stage: WriteRephrased, work: Work) -> None:
    """ConfigError where there are documents, and none of them has a style."""
    documents = sum(int(shard.facts.get("documents", 0)) for shard in work.shards)
    if not documents or documents > sum(int(shard.facts.get("without_style", 0)) for shard in work.shards):
        return
    from tokenmill.rephrase.corpus_step import unrouted

    values = ", ".join(f"{value} ({count:,})" for value, count in unrouted(work).items())
    raise ConfigError(
        f"no document has a style, of {documents:,}",
        why=f"values of {stage.by}: {values}; there are routes for {', '.join(stage.router.styles) or 'none'}",
        fix="--route VALUE=STYLE for values that occur, or styles for all others",
    )
