"""`EncoderScore`: the scores of an encoder's heads as columns; `EncoderScoreGpu`: the same on GPUs."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import numpy as np
import pyarrow as pa

from tokenmill.classifiers.columns import slug
from tokenmill.classifiers.encoder.folder import EncoderFolder, digest, resolve
from tokenmill.classifiers.encoder.settings import Attention, Dtype, LongDocuments, LongDocumentsOrTheirs
from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.core.scorer import Scorer
from tokenmill.core.stage import Resources

if TYPE_CHECKING:
    from tokenmill.classifiers.encoder.engine import Encoder

VERSION = 1
_log = logging.getLogger(__name__)


class EncoderScore(Scorer):
    """Scores of a BERT-like model, one pass for all its heads. Adds float32 columns; decides nothing.

    A regression or a single probability is the column `column`; K labels are `column_<label>`; of several heads each
    has its name in between: `column_<head>_<label>`. On a CPU in float32 a score is the same, bit for bit, whatever
    documents come with it, for the same processor and versions. docs/encoders.md says which models can be used.
    """

    version: ClassVar[int] = VERSION
    resources: ClassVar[Resources] = Resources(cpus=1)
    device: ClassVar[str] = "cpu"
    batch_rows: ClassVar[int] = 1024
    """Documents that the stage would like to see at once: the ends of a call are computed for nothing."""
    batch_seconds: ClassVar[float] = 3600.0
    """A BERT-base does one or two documents of 512 tokens per second and core in float32."""

    model: str
    """A folder with config.json, model.safetensors and tokenizer.json, a folder with heads.json, or a hub id."""
    revision: str = ""
    """Commit, tag or branch of a hub id; empty for the main branch. The digest of the files is in the fingerprint."""
    column: str = "score"
    """The column, or how the columns' names begin."""
    top: tuple[str, ...] = ()
    """Heads of which only the likeliest label is wanted: its name is the column, its score `<column>_score`."""
    max_tokens: int = 0
    """Longest sequence in tokens, special ones included; 0: as the heads were trained, else 512 or what the model can.
    Source of 512: FineWeb-Edu (Penedo et al. 2024, arXiv:2406.17557)."""
    long_documents: LongDocumentsOrTheirs = ""
    """What is scored of a longer text: its beginning ("prefix", as FineWeb-Edu), the mean or the largest value of
    windows that do not overlap ("windows_mean", weighted by tokens; "windows_max"), or "start_middle_end". Empty: as
    the heads were trained, else "prefix"."""
    max_windows: int = 8
    """Windows of a text at most; the rest of it is not seen."""
    batch_tokens: int = 0
    """Tokens computed at once; 0: 2,048 on a CPU, 131,072 on a GPU. Halved where memory runs out."""
    dtype: Dtype = "auto"
    """Numbers of the model: "auto" is float32 on a CPU and bfloat16 on a GPU."""
    attention: Attention = "auto"
    """"packed": sequences one behind the other. "padded": filled up to a few widths."""
    compiled: bool = False
    """torch.compile, with static shapes: a minute or so at the start."""

    @cached_property
    def _folder(self) -> EncoderFolder:
        folder = resolve(self.model, self.revision)
        if not folder.heads:
            raise ConfigError(
                "the model gives no scores",
                where=str(folder.path),
                why="it has no head for sequence classification, and there is no heads.json",
                fix="train one: tokenmill train-classifier",
            )
        return folder

    @cached_property
    def _reading(self) -> tuple[int, LongDocuments]:
        """What is read of a text: tokens, and which of longer ones. The settings, else what the heads say."""
        folder = self._folder
        max_tokens = self.max_tokens or folder.default_tokens
        long_documents = self.long_documents or folder.default_long_documents
        if not 0 < max_tokens <= folder.longest:
            raise ConfigError(
                f"max_tokens = {max_tokens} is not possible",
                where=str(folder.path),
                why=f"the model has positions for {folder.longest} tokens",
                fix=f"max_tokens = {min(512, folder.longest)}, and long_documents = 'windows_mean' for more of a text",
            )
        if long_documents not in get_args(LongDocuments):
            raise ConfigError(
                f"long_documents = {long_documents!r} is not known", fix=f"one of {', '.join(get_args(LongDocuments))}"
            )
        for name, used in (("max_tokens", max_tokens), ("long_documents", long_documents)):
            trained = getattr(folder, name)
            if trained and trained != used:  # scores shift: the user may want that, and should know
                _log.warning("%s = %r, but the heads of %s were trained with %r", name, used, self.model, trained)
        return max_tokens, long_documents

    @cached_property
    def _columns(self) -> Mapping[str, tuple[str, ...]]:
        """Head -> its columns, one per label; of those in `top` the name and its score."""
        _ = self._reading  # whoever plans a run asks for columns first
        heads = self._folder.heads
        alone = len(heads) == 1
        columns = {head.name: head.columns(self.column, alone) for head in heads}
        for name in self.top:
            if name not in columns or len(columns[name]) < 2:
                raise ConfigError(
                    f"{self.name}.top names {name!r}, which is no head with several labels",
                    where=str(self._folder.path),
                    why=did_you_mean(name, columns),
                )
            base = self.column if alone else f"{self.column}_{slug(name)}"
            columns[name] = (base, f"{base}_score")
        names = [name for group in columns.values() for name in group]
        same = sorted({name for name in names if names.count(name) > 1})
        if same or not re.fullmatch(r"[a-z][a-z0-9_]*", self.column):
            raise ConfigError(
                f"the columns {', '.join(same) or self.column} are not possible",
                where=f"{self.name}.column = {self.column!r}",
                why="names of columns differ, and are lower-case letters, digits and underscores",
                fix="another column, or labels that differ in letters and digits",
            )
        return columns

    @cached_property
    def _encoder(self) -> Encoder:
        from tokenmill.classifiers.encoder.engine import Encoder

        max_tokens, long_documents = self._reading
        return Encoder(
            self._folder,
            device=self.device,
            dtype=self.dtype,
            max_tokens=max_tokens,
            long_documents=long_documents,
            max_windows=self.max_windows,
            batch_tokens=self.batch_tokens,
            attention=self.attention,
            compiled=self.compiled,
        )

    def setup(self) -> None:
        if self.device == "cpu":
            import torch

            # a worker has its CPUs; more threads than that would take those of its neighbours
            torch.set_num_threads(max(1, int(self.resources.cpus)))
        _ = self._encoder

    def columns_added(self) -> Mapping[str, pa.DataType]:
        types: dict[str, pa.DataType] = {name: pa.float32() for group in self._columns.values() for name in group}
        return {**types, **{self._columns[head][0]: pa.string() for head in self.top}}

    def model_digest(self) -> str:
        return digest(self._folder)

    def digests(self) -> Mapping[str, str]:
        import importlib.metadata

        found = {}
        for package in ("torch", "transformers", "tokenizers", "safetensors"):
            try:
                found[package] = importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError as error:
                raise ConfigError(
                    f"{self.name} needs the package {package}", why=str(error), fix="pip install 'tokenmill[gpu]'"
                ) from error
        max_tokens, long_documents = self._reading
        return {**super().digests(), **found, "max_tokens": str(max_tokens), "long_documents": long_documents}

    def score(self, texts: Sequence[str]) -> Mapping[str, Any]:
        scores = self._encoder.score(texts)
        found: dict[str, Any] = {}
        for head in self._folder.heads:
            columns, values = self._columns[head.name], scores[head.name]
            if head.name in self.top:
                best = values.argmax(axis=1)
                found[columns[0]] = [head.labels[place] for place in best]
                found[columns[1]] = values[np.arange(len(best)), best]
            else:
                found |= {name: values[:, place] for place, name in enumerate(columns)}
        return found


class EncoderScoreGpu(EncoderScore):
    """`EncoderScore` with a GPU per worker: bfloat16, and packed attention where the GPU has it.

    Its CPUs tokenise: a GPU that does 4,000 documents a second wants more of them than 4. Sub-class it for another
    share: `resources = Resources(cpus=2, gpus=0.5)` lets two workers use one GPU.
    """

    version: ClassVar[int] = VERSION
    resources: ClassVar[Resources] = Resources(cpus=4, gpus=1)
    device: ClassVar[str] = "cuda"
    batch_rows: ClassVar[int] = 16_384
    batch_seconds: ClassVar[float] = 900.0
