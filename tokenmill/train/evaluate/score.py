"""Log-likelihoods of what `Requests` ask, by any causal language model in torch.

Sequences of like length go through the model together, padded on the right, which a causal model does not see. Logits
are turned to float32 at the positions that are scored alone, some at a time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, NamedTuple, Protocol, TypeAlias, cast, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokenmill.core.errors import ConfigError
from tokenmill.train.evaluate.requests import Likelihoods, Requests

__all__ = ["BATCH_TOKENS", "LanguageModel", "Likelihoods", "WithStates", "batches", "score"]

LanguageModel: TypeAlias = Callable[[Tensor], Tensor]
"""ids (B, T) int64 -> logits (B, T, V), where those of a position depend on no later id; T may be anything up to the
context that the requests were prepared for."""
BATCH_TOKENS = {"cpu": 2_048, "cuda": 32_768}
"""Positions in a forward pass: what stays in the caches of a CPU, what keeps a GPU busy."""
_CHUNK_BYTES = {"cpu": 4 << 20, "cuda": 512 << 20}
"""float32 logits at a time."""


@runtime_checkable
class WithStates(Protocol):
    """A model that also gives states (B, T, d) of which `head_weight` (at least V, d) makes logits, so that the output
    matrix is multiplied with the scored positions only. `config.vocab_size` is V. Asked for logits all the same where
    its weights are sharded, for these come together in `forward` alone."""

    config: Any

    @property
    def head_weight(self) -> Tensor: ...

    def states(self, ids: Tensor) -> Tensor: ...


class _Batch(NamedTuple):
    """Sequences that go through the model together, and the ids that are scored in them."""

    ids: npt.NDArray[np.int64]
    """(B, T), padded with 0."""
    place: npt.NDArray[np.int64]
    """(P,): positions in the flattened batch."""
    target: npt.NDArray[np.int64]
    """(P,): the id that should follow each."""
    request: npt.NDArray[np.int64]
    """(P,): whose it is."""


def score(
    model: LanguageModel,
    requests: Requests,
    *,
    batch_tokens: int | None = None,
    device: str | torch.device = "cpu",
    autocast: torch.dtype | None = None,
) -> Likelihoods:
    """Log-likelihoods of all requests, in their order.

    batch_tokens: positions in a forward pass, padding included; a single sequence may be longer; None: as the device
    wants it. The result depends on it by rounding only. device: of the model. autocast: the dtype of products, such as
    torch.bfloat16. A module is in evaluation mode meanwhile, and runs without compiled code, which would be made anew
    for every shape. ConfigError where the model's vocabulary is smaller than the ids.
    """
    place = torch.device(device)
    batch_tokens = BATCH_TOKENS.get(place.type, 16_384) if batch_tokens is None else batch_tokens
    if batch_tokens < 1:
        raise ConfigError(f"batch_tokens={batch_tokens} is too small", fix="at least 1; leave it out for the usual")
    found: list[tuple[npt.NDArray[np.int64], Tensor, Tensor]] = []
    with _measuring(model, place, autocast):
        for batch in batches(requests, batch_tokens):
            nats, greedy = _score_batch(model, batch, place)
            found.append((batch.request, nats, greedy))
    total = np.zeros(len(requests), np.float64)
    missed = np.zeros(len(requests), np.int64)
    for request, nats, greedy in found:
        total += np.bincount(request, nats.double().cpu().numpy(), len(requests))
        missed += np.bincount(request, ~greedy.cpu().numpy(), len(requests)).astype(np.int64)
    return Likelihoods(total, missed == 0)


def batches(requests: Requests, batch_tokens: int) -> Iterator[_Batch]:
    """All requests in batches, the longest first: what does not fit into memory fails at once."""
    if not len(requests):
        return
    lengths = np.diff(requests.offsets) - 1
    own = np.unique(requests.hosts)
    own = own[np.argsort(-lengths[own], kind="stable")]
    rank = np.empty(len(requests), np.int64)
    rank[own] = np.arange(len(own))
    served = np.argsort(rank[requests.hosts], kind="stable")
    ends = np.searchsorted(rank[requests.hosts][served], np.arange(len(own)), side="right")
    start = 0
    while start < len(own):
        rows = max(1, batch_tokens // max(int(lengths[own[start]]), 1))
        stop = min(start + rows, len(own))
        first = int(ends[start - 1]) if start else 0
        yield _batch(requests, own[start:stop], served[first : int(ends[stop - 1])], rank - start)
        start = stop


def _batch(
    requests: Requests, hosts: npt.NDArray[np.int64], served: npt.NDArray[np.int64], row: npt.NDArray[np.int64]
) -> _Batch:
    lengths = np.diff(requests.offsets)
    width = int(lengths[hosts[0]]) - 1
    ids = np.zeros((len(hosts), width), np.int64)
    for number, host in enumerate(hosts.tolist()):
        first = int(requests.offsets[host])
        size = int(lengths[host]) - 1
        ids[number, :size] = requests.ids[first : first + size]
    counts = requests.scored[served].astype(np.int64)
    request = np.repeat(served, counts)
    # the n-th scored id of a request stands at length - scored + n, and is said by the position before it
    nth = np.arange(len(request)) - np.repeat(np.cumsum(counts) - counts, counts)
    at = np.repeat(lengths[served] - counts, counts) + nth
    target = requests.ids[requests.offsets[request] + at].astype(np.int64)
    place = row[requests.hosts[request]] * width + at - 1
    return _Batch(ids, place, target, request)


def _score_batch(model: LanguageModel, batch: _Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    """(nats, whether it is the most probable id) of every scored position."""
    ids = torch.from_numpy(batch.ids).to(device, non_blocking=True)
    place = torch.from_numpy(batch.place).to(device, non_blocking=True)
    target = torch.from_numpy(batch.target).to(device, non_blocking=True)
    largest = int(max(batch.target.max(), batch.ids.max()))
    source, head = cast(object, model), None
    if isinstance(source, WithStates) and type(source.head_weight) in (Tensor, nn.Parameter):
        flat, head = source.states(ids).flatten(0, 1), source.head_weight[: source.config.vocab_size]
    else:
        flat = model(ids).flatten(0, 1)
    vocabulary = flat.shape[-1] if head is None else len(head)
    if largest >= vocabulary:
        raise ConfigError(
            f"the model has no id {largest}",
            why=f"its vocabulary has {vocabulary} ids",
            fix="prepare the requests with the tokenizer that the model was trained with",
        )
    chunk = max(64, _CHUNK_BYTES.get(device.type, 64 << 20) // (4 * vocabulary))
    nats, greedy = [], []
    for start in range(0, len(place), chunk):
        logits = flat[place[start : start + chunk]]
        if head is not None:
            logits = F.linear(logits, head)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        wanted = target[start : start + chunk]
        with torch.autocast(device.type, enabled=False):
            nats.append(F.cross_entropy(logits, wanted, reduction="none"))
        greedy.append(logits.argmax(dim=1) == wanted)
    return torch.cat(nats), torch.cat(greedy)


@contextmanager
def _measuring(model: LanguageModel, device: torch.device, autocast: torch.dtype | None) -> Iterator[None]:
    """No gradients, evaluation mode, autocast as asked for; all as it was behind."""
    source = cast(object, model)
    module = source if isinstance(source, nn.Module) else None
    modes = [(part, part.training) for part in module.modules()] if module is not None else []
    with ExitStack() as stack:
        # not inference_mode: weights that FSDP gathers, or autocast keeps, in there could not be trained on behind it
        stack.enter_context(torch.no_grad())
        stack.enter_context(_eagerly())
        if autocast is not None:
            stack.enter_context(torch.autocast(device.type, dtype=autocast))
        if module is not None:
            module.eval()
        try:
            yield
        finally:
            for part, training in modes:
                part.training = training


def _eagerly() -> AbstractContextManager[Any]:
    """Whatever was compiled in this process runs as it is written."""
    if "torch._dynamo" not in sys.modules:  # nothing was; importing it takes seconds
        return ExitStack()
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance
