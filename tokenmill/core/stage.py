"""The stage contract: what a stage declares, and the six kinds.

A stage is a frozen, keyword-only dataclass. Its fields are its configuration; a string under a field gives
meaning, unit, default and source. Sub-classing is enough: the base class makes the dataclass and registers
the stage under its snake_case name.
"""

from __future__ import annotations

import dataclasses
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, dataclass_transform

import pyarrow as pa

from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.core.kernels import Kernel
from tokenmill.core.rule import Drop, Rule

if TYPE_CHECKING:
    from tokenmill.core.barrier import TaskOutput, Work
    from tokenmill.core.doc import Doc


@dataclass(frozen=True)
class Resources:
    """What one worker of a stage needs. Neighbours with equal resources are fused into one phase."""

    cpus: float = 1.0
    """CPUs; 0 where it hardly needs one."""
    gpus: float = 0.0
    """GPUs; a fraction lets several workers share one."""
    memory_bytes: int = 0


@dataclass(frozen=True)
class InputShard:
    """One unit of input: a file, or a span of one. `path` opens it, `name` is its path below the input root.

    A span is the records that begin at stored bytes [start, stop). `size` is that of the file, 0 where not known.
    """

    path: str
    name: str
    size: int
    etag: str
    start: int = 0
    stop: int | None = None
    part: tuple[int, int] | None = None
    """(number from 0, how many) of a span among those of its file; None for a whole file."""
    exact: bool = False
    """Whether a record is known to begin at `start`; else the first one behind it is looked for."""

    @property
    def bytes(self) -> int:
        """Stored bytes of this unit."""
        return (self.size if self.stop is None else self.stop) - self.start


_REGISTRY: dict[str, type[Stage]] = {}
MAX_NAME = 64
"""Most characters of the name of a stage."""


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Stage(ABC):  # noqa: B024 - its kinds have them
    """Base of all stages. See the module docstring for how to write one."""

    name: ClassVar[str] = ""
    """snake_case name in reports, `--set` and manifests; made from the class name when empty."""
    version: ClassVar[int] = 1
    """Raised whenever the same configuration can give other bytes."""
    reads: ClassVar[tuple[str, ...]] = ()
    """Columns that must exist before the stage."""
    adds: ClassVar[Mapping[str, pa.DataType]] = {}
    """Columns that exist after the stage, with their types."""
    resources: ClassVar[Resources] = Resources()
    incidental: ClassVar[frozenset[str]] = frozenset()
    """Settings that say where and how fast the work is done, not what comes out of it: addresses, patience, prices.
    They are no part of the fingerprint, and a run may be resumed with others."""
    on_demand: ClassVar[bool] = False
    """Whether the plan may insert the stage, with its defaults, where a later one reads what only it adds."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclass(frozen=True, kw_only=True)(cls)
        if "name" not in cls.__dict__ or not cls.name:
            cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()
        if not (cls.name.isidentifier() and len(cls.name) <= MAX_NAME):
            raise ConfigError(
                f"the stage {cls.__name__} is named {cls.name[:80]!r}",
                why="phases and files of a run are named after its stages",
                fix=f"letters, digits and _, at most {MAX_NAME}",
            )
        if cls.__module__ == __name__:  # the kinds
            return
        known = _REGISTRY.get(cls.name)
        if known is not None and (known.__qualname__, known.__module__) != (cls.__qualname__, cls.__module__):
            raise ConfigError(
                f"two stages are named {cls.name!r}: {known.__module__}.{known.__qualname__}"
                f" and {cls.__module__}.{cls.__qualname__}",
                fix="give one of them another class name, or set its `name`",
            )
        _REGISTRY[cls.name] = cls

    def setup(self) -> None:  # noqa: B027 - optional
        """Load heavy things, once per worker. Keep them in a `functools.cached_property` and touch it here."""

    def kernels(self) -> Sequence[Kernel]:
        """What `setup` compiles in the first run of an installation, so that it can be done by several processes."""
        return ()

    @classmethod
    def for_signals(cls, signals: Sequence[str], suffix: str) -> Stage | None:
        """A stage that adds these signals as columns `<signal><suffix>`, where the class measures them; else None.

        The plan asks every class that is `on_demand`.
        """
        return None

    def needs(self) -> tuple[Stage, ...]:
        """Stages that the plan puts before this one, unless the same ones stand there already.

        For what must agree in its settings, such as a sink of tokens and the stage that encodes the text.
        """
        return ()

    def measures(self) -> Mapping[str, str]:
        """Signal -> column, for a stage that measures the text as it is where the stage stands."""
        return {}

    def columns_hidden(self) -> Collection[str]:
        """Those of its columns that are not published, unless all documents are kept with their signals."""
        return ()

    def digests(self) -> Mapping[str, str]:
        """Digests of models and lists, and versions of libraries, on which the output depends.

        Called by the plan; a missing file raises ConfigError here, before any work begins.
        """
        return {}

    def files(self) -> tuple[str, ...]:
        """Files of the user's that settings name (thresholds, code); a run keeps copies of them beside its recipe."""
        return ()

    def columns_added(self) -> Mapping[str, pa.DataType]:
        """`adds`, unless the settings decide which columns there are."""
        return type(self).adds

    def check(self, types: Mapping[str, pa.DataType]) -> None:  # noqa: B027 - optional
        """ConfigError where columns that the settings name are of types that the stage cannot use.

        Called by the plan, before any work. types: all columns where the stage stands; those of `reads` are there.
        """

    def ready(self, folder: str) -> None:  # noqa: B027 - optional
        """ConfigError where something that the stage needs besides files cannot be had, such as a server.

        Called once before a new run begins, where the run is started. folder: of the run.
        """

    def announces(self) -> Sequence[str]:
        """What a user must know before a run begins, such as texts that leave the machine; one line each."""
        return ()

    def config(self) -> dict[str, Any]:
        """The settings of the stage as plain JSON values."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return {f.name: _plain(getattr(self, f.name)) for f in fields}

    def decisive(self) -> dict[str, Any]:
        """Those settings that decide what comes out: all that are not `incidental`."""
        return {name: value for name, value in self.config().items() if name not in type(self).incidental}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return value


class Skips(Protocol):
    """How a source reports what it does not turn into a document."""

    def __call__(
        self, reason: str, *, id: str = "", url: str = "", offset: int = -1, length: int = -1, detail: str = ""
    ) -> None: ...


class Reports(Skips, Protocol):
    """What a source tells of a shard."""

    def covered(self, first: int, end: int) -> None:
        """For a span: the stored bytes that were in fact read. Those of neighbours must join."""


class Source(Stage):
    """Turns an input shard into batches."""

    suffixes: ClassVar[tuple[str, ...]] = ()
    """File name endings that the source reads when the input is a folder."""
    offsets_are_bytes: ClassVar[bool] = False
    """Whether the offsets that the source reports are byte positions in the file (and not rows or lines)."""
    splittable: ClassVar[bool] = False
    """Whether it reads spans of files, so that one file can keep several workers busy."""

    def inputs(self) -> Sequence[InputShard] | None:
        """The inputs that its settings name; None: they are given beside the recipe (`--input`)."""
        return None

    @abstractmethod
    def read(self, shard: InputShard, skip: Reports) -> Iterator[pa.RecordBatch]:
        """Yield batches in file order, and call `skip` once for every record that is left out."""


class Rewrite(Stage):
    """Changes the text or other columns of a document, or drops it."""

    keeps_text: ClassVar[bool] = False
    """Whether the text stays as it is, so that what was measured on it before still holds."""

    @abstractmethod
    def rewrite(self, doc: Doc) -> Mapping[str, Any] | Drop:
        """New values of `text` or of columns in `adds`, or the reason to drop the document."""

    def rewrite_batch(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array] | None:
        """The same for all documents of a batch of the columns `reads`, where that is faster; None: one by one.

        Gives one array per column, as long as the batch; no document is dropped. Must equal `rewrite`.
        """
        return None


class Annotate(Stage):
    """Adds columns to a batch; rows stay as they are (asserted by the engine)."""

    derived: ClassVar[bool] = False
    """Whether its columns follow cheaply from those that it reads, so that refilter makes them anew."""

    batch_rows: ClassVar[int] = 0
    """Documents that the stage would like to see at once, as models do; a phase begins with it. 0: as they come."""
    batch_seconds: ClassVar[float] = 0.0
    """Seconds that a batch may take before its documents are tried one at a time. 0: half of those of a document."""

    @abstractmethod
    def annotate(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        """One array per column of `adds`, each as long as the batch."""


class Filter(Stage):
    """Keeps or drops a document; cannot change it.

    Either `rules()` gives a table, or `judge(doc)` gives the reason to drop the document (None keeps it).
    """

    def rules(self) -> tuple[Rule, ...]:
        """The rules in the order in which they are tried; the first that holds is the recorded reason."""
        return ()

    def judge(self, doc: Doc) -> str | Drop | None:
        """The reason to drop the document, or None."""
        for rule in self._active_rules:
            value = doc.value(rule.signal)
            key = doc[rule.by] if rule.by else None
            if rule.drops(value, key):
                return Drop.by(rule, value, key, doc[rule.note] if rule.note and rule.note in doc else None)
        return None

    @property
    def decides_by_rules(self) -> bool:
        """Whether the table of rules says everything, so that whole batches can be decided at once."""
        return type(self).judge is Filter.judge

    @cached_property
    def _active_rules(self) -> tuple[Rule, ...]:
        return tuple(rule for rule in self.rules() if rule.active)


class Stepped(Stage):
    """A stage with work over all shards: `steps`, each a number of independent tasks that read and write files."""

    steps: ClassVar[tuple[str, ...]] = ()
    """Names of the steps, in order."""
    place: ClassVar[str] = "dedup/{label}"
    """Folder of the run in which its files are published."""
    published: ClassVar[Mapping[str, str]] = {}
    """Kind of file -> sub-folder of `place` where it is published; other kinds stay with the run's phases."""

    def size(self, work: Work) -> int:
        """Documents that the steps work on: with few, they need no workers."""
        return sum(shard.rows for shard in work.shards)

    @abstractmethod
    def tasks(self, step: str, work: Work) -> Sequence[str]:
        """Names of the tasks of a step, which are file names. They depend on the data alone, not on the workers."""

    @abstractmethod
    def run_task(self, step: str, number: int, work: Work, out: TaskOutput) -> Mapping[str, Any]:
        """Do the task of that number; the facts (JSON values) that later steps and reports want of it. Idempotent."""

    def describe(self) -> Sequence[str]:
        """Lines for `tokenmill plan`: what the settings mean."""
        return ()

    def begins(self, step: str, work: Work) -> str:
        """What a user must know when a step begins, such as how much text leaves the machine; or ""."""
        return ""

    def progress(self, step: str, folder: str, fingerprint: str) -> str:
        """How far a step is that takes long, in a few words, from what its tasks leave in the run's folder; or ""."""
        return ""


class Barrier(Stepped):
    """Work over all shards at once (deduplication), ending in a table with a row per document.

    A barrier ends a phase. `prepare` adds columns to each batch at the end of that phase. Then come its steps. The
    tasks of the last step write a Parquet file of kind "table" each and return its facts `shards` and `rows`: which
    shards it holds, in order, and how many rows of each; these rows are the documents of the shard in order, with a
    column `doc_id`. In the next phase every batch is joined with its rows of the table, and `apply` says what becomes
    of it. `setup` is called where batches are prepared, `setup_apply` where they are applied; neither for the steps.
    """

    keeps_text: ClassVar[bool] = True
    """Whether the text stays as it is, so that what was measured on it before still holds."""
    drops: ClassVar[bool] = True
    """Whether it may drop documents."""
    published: ClassVar[Mapping[str, str]] = {"table": ""}
    table: ClassVar[Mapping[str, pa.DataType]] = {}
    """Columns of the table that `apply` reads, as `table.<name>`."""

    def prepares(self) -> Mapping[str, pa.DataType]:
        """Columns that `prepare` adds; their names begin with an underscore. All may be null."""
        return {}

    @property
    def looks_again(self) -> bool:
        """Whether the steps, or people who ask why, want whole documents and not only `columns_kept`."""
        return True

    def columns_kept(self) -> Collection[str]:
        """Columns that the steps read besides those prepared, where the phase before does not keep them all."""
        return ()

    @abstractmethod
    def prepare(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        """What the steps must know of each document. The engine sets it to null where a document takes no part."""

    def setup_apply(self) -> None:
        """What `apply` needs of `setup`."""
        self.setup()

    @abstractmethod
    def apply(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        """New values of columns in `adds` and of the text; under `VERDICT` and `DETAIL` the documents to drop."""


class ShardWriter(Protocol):
    """An open output shard."""

    def write(self, batch: pa.RecordBatch) -> None: ...

    def close(self) -> None: ...


class Sink(Stage):
    """Writes batches into one file per shard, `data`."""

    extension: ClassVar[str] = ""
    takes: ClassVar[tuple[str, ...]] = ()
    """Internal columns that it gets besides the published ones."""
    leaves: ClassVar[tuple[str, ...]] = ()
    """Published columns that its files do not have, unless `columns_left` says something else."""

    def columns_left(self) -> Collection[str]:
        """`leaves`, unless the settings decide."""
        return type(self).leaves

    @abstractmethod
    def open(self, paths: Mapping[str, str], schema: pa.Schema) -> ShardWriter:
        """A writer for local files by kind, "data" at least; the runner verifies and publishes what it wrote."""

    @abstractmethod
    def verify(self, path: str, rows: int) -> None:
        """Re-open what was written; raise ShardError unless it is readable and has that many rows."""


class SteppedSink(Sink, Stepped):
    """A sink with steps over the files of all shards, once these are committed.

    So documents of many shards come together in a new order. For the steps it may write further files per shard, and
    its writers may have a method `facts`, which gives JSON values that `ShardData.facts` holds.
    """

    beside: ClassVar[Mapping[str, str]] = {}
    """Kind -> ending of the further files of each shard. They stay with the run's phases, and are deleted when the
    last step is complete. Steps may leave files of these kinds as well."""

    @property
    def beside_ratio(self) -> float:
        """Bytes of the files `beside`, and again of what the steps publish, per byte of compressed documents."""
        return 0.0


def stage_class(name: str) -> type[Stage]:
    """The registered stage class of that name; ConfigError with the nearest names otherwise."""
    if name not in _REGISTRY:
        raise ConfigError(f"no stage named {name!r}", why=did_you_mean(name, _REGISTRY))
    return _REGISTRY[name]


def registered_stages() -> dict[str, type[Stage]]:
    """All stage classes that have been imported, by name."""
    return dict(_REGISTRY)
