"""The encoder engine: texts to vectors and scores with one pass of a BERT-like encoder.

A call is cut into blocks of texts. A thread tokenises a block and lays out its batches while the model runs the one
before; on a CPU there are as many batches under way as PyTorch may use threads. There and in float32 a text's numbers
do not depend on the other texts of the call, bit for bit: batches have fixed shapes, attention is computed per
sequence, and heads per vector.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, get_args

import numpy as np

from tokenmill.classifiers.encoder.batches import Batch, bucket, bucket_widths, halved, pack
from tokenmill.classifiers.encoder.folder import EncoderFolder, checked_vector, resolve
from tokenmill.classifiers.encoder.inputs import Inputs, packed_inputs, padded_inputs
from tokenmill.classifiers.encoder.settings import Attention, Dtype, LongDocuments, Pooling
from tokenmill.classifiers.encoder.tokens import TextTokenizer, TokenRows
from tokenmill.classifiers.encoder.workers import Workers, ahead, workers
from tokenmill.core.errors import ConfigError

Floats = np.ndarray[Any, np.dtype[np.float32]]

CPU_TOKENS, CUDA_TOKENS = 2048, 131_072
"""Tokens in a batch. On a CPU small ones stay in the caches, and little is lost at the end of a call."""
CPU_BLOCK, CUDA_BLOCK = 2048, 16_384
"""Texts that are tokenised and sorted together."""
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Scored:
    """What one pass gives, in the order of the texts."""

    vectors: Floats
    """float32 [n, width]: the input of the heads. For windows their mean or their largest values."""
    scores: dict[str, Floats]
    """Head's name -> float32 [n, labels]."""


@dataclasses.dataclass
class Work:
    """What an encoder has done so far."""

    texts: int = 0
    tokens: int = 0
    """Tokens of sequences, special ones included."""
    slots: int = 0
    """Tokens that were computed, fillers included."""
    squares: int = 0
    """Sum of the squared lengths of sequences: what attention has to do."""
    halved: int = 0
    """How often a batch did not fit into memory."""

    @property
    def useful_share(self) -> float:
        """Tokens of sequences over tokens computed, 0 to 1."""
        return self.tokens / self.slots if self.slots else 1.0


@dataclasses.dataclass(frozen=True)
class Laid:
    """A batch, ready for the device."""

    rows: TokenRows
    batch: Batch
    inputs: Inputs


class Encoder:
    """A model folder, ready to score.

    `model`: a folder, a hub id or an `EncoderFolder`. `max_tokens` counts special tokens; None is what the folder says,
    else 512 or what the model can. `batch_tokens`: tokens in a batch, 0 for the device's default. `pooling`, `layers`
    and `normalize` change the vectors, which heads do not fit then; None is what the folder says. `compiled`:
    torch.compile, static shapes.
    ConfigError for whatever cannot work.
    """

    def __init__(
        self,
        model: str | EncoderFolder,
        *,
        revision: str = "",
        device: str = "auto",
        dtype: Dtype = "auto",
        max_tokens: int | None = None,
        long_documents: LongDocuments = "prefix",
        max_windows: int = 8,
        batch_tokens: int = 0,
        attention: Attention = "auto",
        pooling: Pooling | None = None,
        layers: Sequence[int] | None = None,
        normalize: bool | None = None,
        compiled: bool = False,
    ) -> None:
        import torch

        folder = resolve(model, revision) if isinstance(model, str) else model
        self.folder = _with_vector(folder, pooling, layers, normalize)
        self._heads_fit = self.folder == folder
        self.max_tokens = _checked_tokens(folder, max_tokens)
        self.device = torch.device(_device(device))
        cuda = self.device.type == "cuda"
        self.dtype: torch.dtype = _torch_dtype(dtype, cuda)
        self.packed = _packed(attention, cuda, self.dtype == torch.bfloat16)
        self.batch_tokens = max(batch_tokens or (CUDA_TOKENS if cuda else CPU_TOKENS), self.max_tokens)
        self.work = Work()
        self._lock = threading.Lock()
        self._long = long_documents
        self._tokenizer = TextTokenizer(folder.path, self.max_tokens, long_documents, max_windows)
        self._load(compiled)

    def _load(self, compiled: bool) -> None:
        import torch

        from tokenmill.classifiers.encoder.attention import register
        from tokenmill.classifiers.encoder.heads import WEIGHTS, load_weights
        from tokenmill.classifiers.encoder.layers import known_layers
        from tokenmill.classifiers.encoder.loading import load

        loaded = load(self.folder, register() if self.packed else "sdpa", self.dtype, self.device)
        self._classifier = loaded.classifier
        self._encoder: Any = torch.compile(loaded.encoder, dynamic=False) if compiled else loaded.encoder
        plain = self.packed and self.device.type == "cpu" and not compiled
        self._layers = known_layers(loaded.encoder) if plain else None
        self._weights = (
            load_weights(self.folder.heads_path / WEIGHTS, self.folder.heads, self.folder.width, self.device)
            if self.folder.heads_path and self._heads_fit
            else {}
        )

    def embed(self, texts: Sequence[str]) -> Floats:
        """Vectors, float32 [n, width]: what the heads get. Windows of a text are combined (`Scored.vectors`)."""
        rows, vectors = self._vectors(texts)
        return self._combine(rows, vectors, len(texts))

    def score(self, texts: Sequence[str]) -> dict[str, Floats]:
        """Head's name -> scores, float32 [n, labels]. ConfigError for an encoder without heads."""
        return self.run(texts).scores

    def run(self, texts: Sequence[str]) -> Scored:
        """Vectors and the scores of all heads, from one pass."""
        if not self.folder.heads or not self._heads_fit:
            raise ConfigError(
                "the model has no heads for these vectors",
                where=str(self.folder.heads_path or self.folder.path),
                why="pooling, layers or normalize differ from the folder's" if self.folder.heads else "no heads.json",
                fix="use embed(), or a folder with heads",
            )
        rows, vectors = self._vectors(texts)
        scores = {name: self._combine(rows, found, len(texts)) for name, found in self._scores(vectors).items()}
        return Scored(self._combine(rows, vectors, len(texts)), scores)

    def _vectors(self, texts: Sequence[str]) -> tuple[TokenRows, Floats]:
        """One vector per sequence of all texts; the sequences come without their ids."""
        import torch

        cpu = self.device.type == "cpu"
        found: list[Floats] = [np.empty((0, self.folder.width), np.float32)]
        owners: list[np.ndarray[Any, Any]] = [np.empty(0, np.int64)]
        lengths: list[np.ndarray[Any, Any]] = [np.empty(0, np.int64)]
        pending: list[Callable[[], list[tuple[Inputs, Any]]]] = []
        with workers(torch.get_num_threads() if cpu else 0) as pool:
            for item in ahead(self._prepared(texts, CPU_BLOCK if cpu else CUDA_BLOCK)):
                if isinstance(item, Laid):
                    pending.append(self._start(pool, item))
                    continue
                start, rows = item  # the block is complete
                found.append(_gather(pending, len(rows.owners), self.folder.width))
                pending = []
                owners.append(rows.owners + start)
                lengths.append(rows.lengths)
        self.work.texts += len(texts)
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(lengths))])
        return TokenRows(np.empty(0, np.int32), offsets, np.concatenate(owners)), np.concatenate(found)

    def _start(self, pool: Workers | None, laid: Laid) -> Callable[[], list[tuple[Inputs, Any]]]:
        """Begin a batch; what is returned waits for it."""
        if pool:
            return pool.submit(self._forward, laid).result
        done = self._forward(laid)  # on CUDA only begun: the device works on while the next ones are laid out
        return lambda: done

    def _prepared(self, texts: Sequence[str], size: int) -> Iterator[Laid | tuple[int, TokenRows]]:
        """Per block of `size` texts its batches, and then its first text's number and its sequences."""
        for start in range(0, len(texts), size):
            rows = self._tokenizer.rows(texts[start : start + size])
            for batch in self._plan(rows):
                yield self._lay(rows, batch)
            yield start, rows

    def _plan(self, rows: TokenRows) -> list[Batch]:
        lengths = rows.lengths
        self.work.tokens += int(lengths.sum())
        self.work.squares += int((lengths**2).sum())
        if self.packed:
            return pack(lengths, self.batch_tokens)
        return bucket(lengths, bucket_widths(self.max_tokens), self.batch_tokens)

    def _lay(self, rows: TokenRows, batch: Batch) -> Laid:
        filler, first = int(self.folder.config.get("pad_token_id") or 0), self.folder.first_position
        if not self.packed:
            return Laid(rows, batch, padded_inputs(rows, batch, filler=filler, first_position=first))
        cuda = self.device.type == "cuda"
        inputs = packed_inputs(rows, batch, filler=filler, first_position=first, fill_bounds=cuda)
        return Laid(rows, batch, inputs)

    def _forward(self, laid: Laid) -> list[tuple[Inputs, Any]]:
        """The batch's vectors, still on the device, in two parts or more where it does not fit into memory."""
        import torch

        try:
            with torch.inference_mode():  # it is a thread's own
                vectors = self._encode(laid.inputs)
        except RuntimeError as error:  # torch.OutOfMemoryError is one; what a CPU's allocator raises has no class
            if len(laid.batch.members) < 2 or not _is_out_of_memory(error):
                raise
        else:
            with self._lock:
                self.work.slots += laid.batch.slots
            return [(laid.inputs, vectors)]
        self._halve(laid.batch.slots)
        halves = halved(laid.rows.lengths, laid.batch)
        return [part for half in halves for part in self._forward(self._lay(laid.rows, half))]

    def _halve(self, slots: int) -> None:
        import torch

        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        with self._lock:
            self.work.halved += 1
            self.batch_tokens = max(self.max_tokens, self.batch_tokens // 2)
        _log.warning(
            "a batch of %d tokens did not fit into the memory of %s: halved; batch_tokens is %d from now on",
            *(slots, self.device, self.batch_tokens),
        )

    def _encode(self, inputs: Inputs) -> Any:
        from tokenmill.classifiers.encoder.pooling import pool

        layers = self.folder.layers
        if self._layers:
            firsts = self.folder.pooling == "cls" and layers in ((), (self.folder.depth,))
            lengths = np.ones_like(inputs.lengths) if firsts else inputs.lengths
            states = self._layers.run(inputs, layers, firsts)
            return pool(states, self._tensor(lengths), self.folder.pooling, self.folder.normalize)
        settings: dict[str, Any] = {
            "input_ids": self._tensor(inputs.ids),
            "position_ids": self._tensor(inputs.positions),
        }
        if inputs.bounds is not None:
            # the same number for all batches: it is part of the shape
            settings |= {"cu_seq_lens_q": self._tensor(inputs.bounds), "max_length_q": self.max_tokens}
        else:
            settings |= {"attention_mask": self._tensor(inputs.mask)}
        output = self._encoder(**settings, output_hidden_states=bool(layers))
        states = [output.hidden_states[layer] for layer in layers] if layers else [output.last_hidden_state]
        places = self._tensor(inputs.places)
        flat = [state.flatten(0, 1)[places] for state in states]
        return pool(flat, self._tensor(inputs.lengths), self.folder.pooling, self.folder.normalize)

    def _tensor(self, array: Any) -> Any:
        """The array on the device; from pinned memory, so that the copy does not wait for the device."""
        import torch

        tensor = torch.from_numpy(array)
        if self.device.type != "cuda":
            return tensor
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def _scores(self, vectors: Floats) -> dict[str, Floats]:
        """Scores of every head for vectors [n, width].

        On a CPU one vector at a time and in one thread: how a product of matrices is added up depends on the rows.
        """
        import torch

        step = 1 if self.device.type == "cpu" else 65_536
        with workers(1 if self.device.type == "cpu" else 0), torch.inference_mode():
            parts = [
                self._head_scores(torch.from_numpy(vectors[start : start + step]).to(self.device))
                for start in range(0, len(vectors), step)
            ]
        empty = {head.name: np.empty((0, len(head.labels)), np.float32) for head in self.folder.heads}
        return {name: np.concatenate([none, *(part[name] for part in parts)]) for name, none in empty.items()}

    def _head_scores(self, vectors: Any) -> dict[str, Floats]:
        from tokenmill.classifiers.encoder.heads import apply_layers, scores_of
        from tokenmill.classifiers.encoder.loading import native_logits

        found = {}
        for head in self.folder.heads:
            if head.native:
                logits = native_logits(self._classifier, vectors.to(self.dtype))
            else:
                logits = apply_layers(vectors, self._weights[head.name], head.activation)
            found[head.name] = scores_of(logits, head.problem).cpu().numpy()
        return found

    def _combine(self, rows: TokenRows, values: Floats, texts: int) -> Floats:
        """One row per text of values of sequences: the mean weighted by tokens, or the largest values."""
        if len(rows.owners) == texts:
            return values
        first = np.searchsorted(rows.owners, np.arange(texts))
        if self._long == "windows_max":
            return np.maximum.reduceat(values, first, axis=0)
        weights = rows.lengths.astype(np.float64)[:, None]
        means = np.add.reduceat(values * weights, first, axis=0) / np.add.reduceat(weights, first, axis=0)
        return means.astype(np.float32)


def _gather(pending: Iterable[Callable[[], list[tuple[Inputs, Any]]]], count: int, width: int) -> Floats:
    """The vectors of a block in the order of its sequences."""
    vectors = np.empty((count, width), dtype=np.float32)
    for wait in pending:
        for inputs, tensor in wait():
            vectors[inputs.members] = tensor.cpu().numpy()
    return vectors


def _is_out_of_memory(error: RuntimeError) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _with_vector(
    folder: EncoderFolder, pooling: Pooling | None, layers: Sequence[int] | None, normalize: bool | None
) -> EncoderFolder:
    wanted = {"pooling": pooling, "layers": None if layers is None else tuple(layers), "normalize": normalize}
    given: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
    return checked_vector(dataclasses.replace(folder, **given))


def _checked_tokens(folder: EncoderFolder, max_tokens: int | None) -> int:
    """Tokens of the longest sequence."""
    if max_tokens is None:
        return folder.default_tokens
    if max_tokens > folder.longest:
        raise ConfigError(
            f"max_tokens = {max_tokens} is more than the model can",
            where=str(folder.path),
            why=f"it has positions for {folder.longest} tokens",
            fix=f"max_tokens = {folder.longest} or less; long_documents = 'windows_mean' reads more of a text",
        )
    return max_tokens


def _device(device: str) -> str:
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.split(":")[0] == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "there is no CUDA device",
            why=f"device = {device!r}, and PyTorch {torch.__version__} sees none",
            fix="run where a GPU is visible, or use device = 'cpu'",
        )
    if device.split(":")[0] not in ("cpu", "cuda"):
        raise ConfigError(f"device = {device!r} is not known", fix="one of auto, cpu, cuda, cuda:N")
    return device


def _torch_dtype(dtype: Dtype, cuda: bool) -> Any:
    import torch

    if dtype not in get_args(Dtype):
        raise ConfigError(f"dtype = {dtype!r} is not known", fix=f"one of {', '.join(get_args(Dtype))}")
    name = ("bfloat16" if cuda else "float32") if dtype == "auto" else dtype
    return getattr(torch, name)


def _packed(attention: Attention, cuda: bool, half: bool) -> bool:
    from tokenmill.classifiers.encoder.attention import has_packed_cuda

    if attention not in get_args(Attention):
        raise ConfigError(f"attention = {attention!r} is not known", fix=f"one of {', '.join(get_args(Attention))}")
    if attention == "padded" or not cuda:
        return attention != "padded"
    able = half and has_packed_cuda()
    if attention == "packed" and not able:
        raise ConfigError(
            "packed attention is not possible on this device",
            why="it needs compute capability 8.0, bfloat16, and a PyTorch with torch.nn.attention.varlen",
            fix="attention = 'padded', or 'auto'",
        )
    return able
