"""A model in this process, answering by the continuous batching of transformers: for small models and for tests.

A thread generates; requests join and leave its batches as they come and end. What the library cannot do (5.23): a seed
for each request. An answer that was sampled (temperature above 0) is therefore not made again by asking again; it is
kept in the ledger, and that is where a run gets it from.

Without limits the library takes 90 % of all memory for its cache, on a CPU of the machine's: that is what makes the
first answer late there (34 s were measured on two cores). Here the cache has a size.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tokenmill.core.errors import ConfigError, FatalError
from tokenmill.io.chat.reply import ChatFault, ContextOverflow, Reply, RequestFailed
from tokenmill.rephrase.engines.base import Identity, Messages
from tokenmill.rephrase.engines.digests import model_digests

__all__ = ["LocalEngine", "LocalSettings", "flops_per_token"]

_KNOWN = frozenset({"max_tokens", "temperature", "top_p", "top_k", "seed", "stop"})
_DEFAULT_TOKENS = 512


@dataclass(frozen=True, kw_only=True)
class LocalSettings:
    """How the model runs. ConfigError for what cannot be."""

    device: str = "auto"
    """auto: "cuda" where there is one, else "cpu"."""
    dtype: str = "auto"
    """auto: bfloat16 on a GPU, float32 on a CPU; or a name of torch's ("float16")."""
    attention: str = "auto"
    """Implementation in transformers' words. auto: flash_attention_2 where it is installed and there is a GPU, else
    sdpa. Nothing is fetched from a hub."""
    max_batch_tokens: int | None = None
    """Tokens of one step over all requests; None: 512 on a CPU, the library's choice (8,192) on a GPU."""
    cache_tokens: int | None = None
    """Tokens of all requests under way whose keys and values are kept; None: 32,768 on a CPU, what fits on a GPU."""
    page_tokens: int | None = None
    """Tokens of a page of the cache; None: 32 on a CPU, 256 on a GPU."""
    memory_share: float = 0.8
    """Of the free memory of a GPU for the cache."""
    sampling: bool = True
    """False: always the likeliest token, which is faster; a temperature above 0 is then refused."""
    seed: int = 0
    """Of the generator that all requests share."""

    def __post_init__(self) -> None:
        for name in ("max_batch_tokens", "cache_tokens", "page_tokens"):
            value = getattr(self, name)
            if value is not None and value < 4:
                raise ConfigError(f"{name}={value} of a model in this process", fix="at least 4, or None")
        if not 0 < self.memory_share <= 1:
            raise ConfigError(f"memory_share={self.memory_share} of a model in this process", fix="above 0, at most 1")


class LocalEngine:
    """Implements `Engine`. model: a folder, or the name of a model that the hub's cache on this machine has.

    Used within `async with`: the model is loaded at its beginning, and stops at its end. One per process and GPU.
    """

    def __init__(
        self,
        model: str | Path,
        settings: LocalSettings | None = None,
        *,
        revision: str = "",
        name: str = "",
        **changes: Any,
    ) -> None:
        """name: by which answers name the model; "" for that of the folder. changes: of the settings."""
        settings = settings or LocalSettings()
        unknown = [key for key in changes if key not in LocalSettings.__dataclass_fields__]
        if unknown:
            raise ConfigError(
                f"a model in this process has no setting {unknown[0]!r}",
                fix=f"one of {', '.join(LocalSettings.__dataclass_fields__)}",
            )
        self.settings = replace(settings, **changes)
        self.folder = Path(model) if Path(model).is_dir() else _from_cache(str(model), revision)
        self._name = name or (Path(model).name if Path(model).is_dir() else str(model))
        self._revision = revision
        self._device = _device(self.settings.device)
        self._dtype = self.settings.dtype
        if self._dtype == "auto":
            self._dtype = "float32" if self._device.startswith("cpu") else "bfloat16"
        self._attention = _attention(self.settings.attention, self._device)
        self._identity: Identity | None = None
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._manager: Any = None
        self._tokenizer: Any = None
        self._model: Any = None

    @property
    def identity(self) -> Identity:
        """Weights and template by their digests; what else can change an answer is part of `revision`."""
        if self._identity is None:
            import transformers

            weights, template = model_digests(self.folder)
            kind = self._device.partition(":")[0]
            setup = f"transformers {transformers.__version__}, {kind}, {self._dtype}, {self._attention}"
            revision = f"{self._revision} ({setup})".strip()
            self._identity = Identity(self._name, revision, weights, template)
        return self._identity

    @property
    def config(self) -> Any:
        """config.json as transformers reads it; only within `async with`."""
        return self._model.config.get_text_config()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._load)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        manager, self._manager = self._manager, None
        if manager is not None:
            await asyncio.to_thread(_stop, manager)
        self._model = None

    async def check(self, sampling: Mapping[str, Any]) -> None:
        """One token with the real settings. ConfigError where they cannot be had here."""
        wrong = _complaint(sampling, self.settings.sampling)
        if wrong:
            raise ConfigError(f"the model in this process cannot answer like this: {wrong}", where=str(self.folder))
        try:
            await self.ask([{"role": "user", "content": "Hello"}], {**sampling, "max_tokens": 1})
        except (ChatFault, RequestFailed, ContextOverflow) as error:
            raise ConfigError(
                "the model does not answer", where=str(self.folder), why=str(error), fix="try another model"
            ) from error

    async def ask(self, messages: Messages, sampling: Mapping[str, Any]) -> Reply:
        """One answer. usage: prompt_tokens, completion_tokens (the end token included) and total_tokens.

        finish_reason: "stop" where the model ended or a string of `stop` came, "length" where max_tokens did.
        """
        begun = time.perf_counter()
        wrong = _complaint(sampling, self.settings.sampling)
        if wrong:
            raise RequestFailed("bad_request", wrong)
        ids = self._prompt(messages)
        room = int(sampling.get("max_tokens", _DEFAULT_TOKENS))
        context = self._context
        if context is not None and len(ids) + room > context:
            raise ContextOverflow(
                f"{len(ids):,} tokens of the prompt and {room:,} of the answer exceed {context:,} positions"
            )
        if len(ids) + room > self._cache_tokens:
            raise ContextOverflow(
                f"{len(ids):,} tokens of the prompt and {room:,} of the answer: cache_tokens={self._cache_tokens:,}"
            )
        said = await self._generate(ids, room, sampling)
        ended = bool(said) and said[-1] in self._ends
        if not ended and len(said) < room:
            raise ChatFault("cut_body", f"the answer was broken off after {len(said):,} of {room:,} tokens")
        text: str = self._tokenizer.decode(said, skip_special_tokens=True)
        text, stopped = _cut_at(text, sampling.get("stop"))
        usage = {
            "prompt_tokens": len(ids), "completion_tokens": len(said), "total_tokens": len(ids) + len(said)
        }  # fmt: skip
        finish = "stop" if ended or stopped else "length"
        return Reply(text, finish, usage, self._name, "", time.perf_counter() - begun)

    async def _generate(self, ids: list[int], room: int, sampling: Mapping[str, Any]) -> list[int]:
        """Ids of the answer. FatalError where the thread that generates has ended."""
        manager = self._manager
        if manager is None:
            raise FatalError("the model in this process is not loaded", fix="use LocalEngine within `async with`")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        number = f"r{next(self._numbers)}"

        def arrived(output: Any) -> None:
            if not future.done() and output.is_finished():
                future.set_result(output)

        manager.register_result_handler(number, arrived)
        try:
            taken = manager.add_request(
                ids, number, max_new_tokens=room, eos_token_id=self._ends, **self._warp(sampling)
            )
            if taken is None:
                raise self._dead()
            output = await future
        except asyncio.CancelledError:
            manager.cancel_request(number)
            raise
        finally:
            with manager.output_router._lock:  # what has ended is taken out there already
                manager.output_router.result_handlers.pop(number, None)
        if output.error is not None:
            if not manager.is_running() or manager.background_thread_status.fatal_error is not None:
                raise self._dead(output.error)
            raise RequestFailed("server", f"the model has failed: {output.error}")
        return list(output.generated_tokens)

    def _dead(self, why: str = "") -> FatalError:
        error = self._manager.background_thread_status.fatal_error if self._manager is not None else None
        return FatalError(
            "the model in this process has stopped generating",
            where=str(self.folder),
            why=why or str(error or "its thread has ended"),
            fix="where memory ran out: smaller cache_tokens or max_batch_tokens; then the same command goes on",
        )

    def _warp(self, sampling: Mapping[str, Any]) -> dict[str, Any]:
        """Settings of one request. The likeliest token is what the one best of them leaves."""
        if not self.settings.sampling:
            return {}
        temperature = float(sampling.get("temperature", 1.0))
        if temperature == 0:
            return {"temperature": 1.0, "top_k": 1, "top_p": 1.0}
        top_k = int(sampling.get("top_k", 0))
        return {
            "temperature": temperature,
            "top_k": top_k if top_k > 0 else self._vocabulary,
            "top_p": float(sampling.get("top_p", 1.0)),
        }

    def _prompt(self, messages: Messages) -> list[int]:
        """Ids of the messages in the model's chat template."""
        try:
            found = self._tokenizer.apply_chat_template(
                [dict(one) for one in messages], add_generation_prompt=True, tokenize=True, return_dict=False
            )
        except Exception as error:  # templates raise what they like, for roles that they do not know
            raise RequestFailed("bad_request", f"the chat template refuses the messages: {error}") from error
        return list(found)

    def _load(self) -> None:
        """Model, tokenizer and the thread that generates. ConfigError for what cannot be loaded."""
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, ContinuousBatchingConfig, GenerationConfig

        here = {"local_files_only": True}
        try:
            tokenizer = AutoTokenizer.from_pretrained(self.folder, **here)
            model = AutoModelForCausalLM.from_pretrained(
                self.folder, dtype=getattr(torch, self._dtype), attn_implementation=self._attention, **here
            )
        except (OSError, ValueError, AttributeError, ImportError, RuntimeError) as error:
            raise ConfigError(
                "the model cannot be loaded", where=str(self.folder), why=f"{type(error).__name__}: {error}",
                fix="the folder of a causal language model in the format of transformers",
            ) from error  # fmt: skip
        if not tokenizer.chat_template:
            raise ConfigError(
                "the model has no chat template", where=str(self.folder),
                why="prompts are messages, and only a template says how the model was taught to read these",
                fix="take a model that was tuned for chats, or put a chat_template.jinja into its folder",
            )  # fmt: skip
        loaded: Any = model
        self._tokenizer, self._model = tokenizer, loaded.to(self._device).eval()
        config = self.config
        self._vocabulary = int(config.vocab_size)
        self._context: int | None = getattr(config, "max_position_embeddings", None)
        self._ends = _end_ids(model, tokenizer)
        on_cpu = self._device.startswith("cpu")
        page = self.settings.page_tokens or (32 if on_cpu else 256)
        cache = self.settings.cache_tokens or (32_768 if on_cpu else None)
        self._cache_tokens: float = cache if cache is not None else float("inf")
        # a processor is only there for what is set, and not neutral, when the thread begins
        chosen = {"do_sample": True, "temperature": 0.7, "top_k": 50, "top_p": 0.9} if self.settings.sampling else {}
        generation = GenerationConfig(  # type: ignore[no-untyped-call]
            eos_token_id=self._ends, pad_token_id=self._ends[0], **chosen
        )
        batching = ContinuousBatchingConfig(
            page_size=page,
            num_blocks=None if cache is None else -(-cache // page),
            max_batch_tokens=self.settings.max_batch_tokens or (512 if on_cpu else None),
            max_memory_percent=None if on_cpu else self.settings.memory_share,
            per_request_processors=self.settings.sampling,
            auto_switch_to_flash=False,
            seed=self.settings.seed,
        )
        self._manager = model.init_continuous_batching(
            generation_config=generation, continuous_batching_config=batching
        )
        self._manager.start()


def flops_per_token(config: Any, context: int = 0) -> float:
    """Operations (a product and a sum are two) of one token's way through a Llama-like decoder.

    config: attributes as in config.json of transformers, or a mapping. context: tokens that it attends to; their part
    is 4 * layers * heads * head width for each. Of experts, those that a token meets. Divided by the time and the
    device's peak this is the MFU of PaLM (arXiv:2204.02311, appendix B), forward only.
    """

    def value(name: str, default: Any = None) -> Any:
        found = config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)
        return default if found is None else found

    width, heads, layers = value("hidden_size"), value("num_attention_heads"), value("num_hidden_layers")
    head = value("head_dim", width // heads)
    keys = value("num_key_value_heads", heads)
    attention = width * head * (2 * heads + 2 * keys)
    experts = value("num_experts_per_tok", 0)
    if experts:
        every = value("num_experts", value("num_local_experts", 0))
        inner = value("moe_intermediate_size", value("intermediate_size"))
        feed = experts * 3 * width * inner + width * every
    else:
        feed = 3 * width * value("intermediate_size")
    weights = layers * (attention + feed) + width * value("vocab_size")
    return float(2 * weights + 4 * layers * heads * head * context)


def _complaint(sampling: Mapping[str, Any], can_sample: bool) -> str:
    """What is wrong with the settings of a request; "" for nothing."""
    unknown = [name for name in sampling if name not in _KNOWN]
    if unknown:
        return f"{unknown[0]!r} is not among {', '.join(sorted(_KNOWN))}"
    checks: list[tuple[str, Callable[[Any], bool], str]] = [
        ("max_tokens", lambda x: isinstance(x, int) and x >= 1, "an integer of at least 1"),
        ("temperature", lambda x: 0 <= x <= 10, "0 to 10"),
        ("top_p", lambda x: 0 < x <= 1, "above 0, at most 1"),
        ("top_k", lambda x: isinstance(x, int) and x >= 0, "an integer of at least 0"),
    ]
    for name, good, what in checks:
        value = sampling.get(name)
        if name in sampling and (isinstance(value, bool) or not isinstance(value, int | float) or not good(value)):
            return f"{name}={value!r}: it must be {what}"
    if not can_sample and sampling.get("temperature", 0) > 0:
        return "a temperature above 0, with sampling=False"
    return ""


def _cut_at(text: str, stop: object) -> tuple[str, bool]:
    """(The text up to the first of the strings, whether one was there)."""
    marks = [stop] if isinstance(stop, str) else list(stop) if isinstance(stop, list | tuple) else []
    places = [place for mark in marks if mark and (place := text.find(mark)) >= 0]
    return (text[: min(places)], True) if places else (text, False)


def _end_ids(model: Any, tokenizer: Any) -> list[int]:
    """Ids that end an answer."""
    found = model.generation_config.eos_token_id
    ids = found if isinstance(found, list) else [found] if found is not None else []
    if tokenizer.eos_token_id is not None and tokenizer.eos_token_id not in ids:
        ids = [*ids, tokenizer.eos_token_id]
    if not ids:
        raise ConfigError(
            "the model does not say which token ends an answer", fix="eos_token_id in generation_config.json"
        )
    return [int(one) for one in ids]


def _from_cache(name: str, revision: str) -> Path:
    """The folder of a model that the hub's cache on this machine has. ConfigError where it has not."""
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(name, revision=revision or None, local_files_only=True))
    except Exception as error:
        raise ConfigError(
            f"no model {name} on this machine",
            why=f"no folder of that name, and not in the hub's cache: {type(error).__name__}",
            fix=f"give the folder of a model, or fetch it before: hf download {name}",
        ) from error


def _device(chosen: str) -> str:
    import torch

    if chosen == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if chosen.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device={chosen!r}, and torch finds no GPU", fix='device="cpu", or a build of torch for it')
    return chosen


def _attention(chosen: str, device: str) -> str:
    if chosen != "auto":
        return chosen
    from transformers.utils import is_flash_attn_2_available  # type: ignore[attr-defined]

    return "flash_attention_2" if device.startswith("cuda") and is_flash_attn_2_available() else "sdpa"


def _stop(manager: Any) -> None:
    manager.stop(block=True, timeout=60, hard_stop=True)
    manager.destroy()
