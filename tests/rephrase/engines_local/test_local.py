"""A model in this process: real weights, real batches."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.rephrase import pages
from tokenmill.core.errors import ConfigError, FatalError
from tokenmill.io.chat.reply import ContextOverflow, Reply, RequestFailed
from tokenmill.rephrase.engines.local import LocalEngine, LocalSettings, _complaint, _cut_at, flops_per_token

Tiny = Callable[[str], Path]
GREEDY = {"temperature": 0, "max_tokens": 160, "seed": 3}

SETTINGS = {
    "": ({}, True),
    "max_tokens": ({"max_tokens": 0}, False),
    "temperature": ({"temperature": -0.1}, False),
    "top_p": ({"top_p": 0}, False),
    "top_k": ({"top_k": -1}, False),
    "logprobs": ({"logprobs": True}, False),
    "is a number": ({"temperature": True}, False),
    "all": ({"max_tokens": 1, "temperature": 0, "top_p": 1.0, "top_k": 0, "seed": 1, "stop": ["x"]}, True),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_it_understands(name: str) -> None:
    sampling, good = SETTINGS[name]
    assert (not _complaint(sampling, True)) is good


def test_no_sampling_where_only_the_likeliest_token_is_said() -> None:
    assert _complaint({"temperature": 0.5}, False)
    assert not _complaint({"temperature": 0}, False)


@pytest.mark.parametrize(
    ("stop", "wanted"),
    [(None, ("a b c", False)), ("b", ("a ", True)), (["c", " b"], ("a", True)), (["", "x"], ("a b c", False))],
)
def test_strings_that_end_an_answer(stop: object, wanted: tuple[str, bool]) -> None:
    assert _cut_at("a b c", stop) == wanted


@pytest.mark.parametrize("setting", [{"cache_tokens": 1}, {"memory_share": 0.0}, {"max_batch_tokens": 0}])
def test_settings_that_cannot_be(setting: Mapping[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        LocalSettings(**setting)


def test_operations_per_token_are_those_of_the_matrices() -> None:
    llama = {
        "hidden_size": 8, "num_attention_heads": 2, "num_key_value_heads": 1, "num_hidden_layers": 3,
        "intermediate_size": 20, "vocab_size": 50,
    }  # fmt: skip
    layer = 8 * 8 + 2 * 8 * 4 + 8 * 8 + 3 * 8 * 20
    assert flops_per_token(llama) == 2 * (3 * layer + 8 * 50)
    assert flops_per_token(llama, context=100) - flops_per_token(llama) == 3 * 100 * 2 * (2 * 8)
    experts = {**llama, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 10}
    assert flops_per_token(experts) - flops_per_token(llama) == 2 * 3 * (2 * 3 * 8 * 10 + 8 * 4 - 3 * 8 * 20)


async def answers(folder: Path, texts: list[str], **settings: Any) -> list[Reply]:
    from tests.rephrase.vocabulary import messages

    async with LocalEngine(folder, **settings) as engine:
        return await asyncio.gather(*(engine.ask(messages(text), GREEDY) for text in texts))


@pytest.mark.ci
def test_answers_are_those_of_generate(tiny_model: Tiny) -> None:
    """Greedily, for pages of several lengths in one batch; with fewer tokens per step than one prompt has."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tests.rephrase.vocabulary import messages

    folder = tiny_model("copy")
    texts = [pages.page(seed).text for seed in range(6)] + ["Words that it has never seen: łódź, 東京, naïve. " * 3]
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    wanted = []
    for text in texts:
        ids = tokenizer.apply_chat_template(
            messages(text), add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        said = model.generate(**ids, max_new_tokens=160, do_sample=False)
        wanted.append(said[0, ids["input_ids"].shape[1] :].tolist())
    for settings in ({}, {"max_batch_tokens": 64}, {"sampling": False}):
        found = asyncio.run(answers(folder, texts, **settings))
        assert [one.text for one in found] == [tokenizer.decode(ids, skip_special_tokens=True) for ids in wanted]
        assert [one.usage["completion_tokens"] for one in found] == [len(ids) for ids in wanted]
    assert [one.text for one in found[:6]] == texts[:6]
    assert {one.finish_reason for one in found[:6]} == {"stop"}


@pytest.mark.ci
def test_ends_are_told_apart(tiny_model: Tiny) -> None:
    """The limit of tokens, also where the end would be the next one; a string of `stop`; the context."""

    async def ask() -> None:
        from tests.rephrase.vocabulary import messages

        text = pages.page(0).text
        word = text.split()[9]
        async with LocalEngine(tiny_model("copy"), cache_tokens=2048) as engine:
            whole = await engine.ask(messages(text), GREEDY)
            exact = await engine.ask(messages(text), {**GREEDY, "max_tokens": whole.usage["completion_tokens"]})
            less = await engine.ask(messages(text), {**GREEDY, "max_tokens": whole.usage["completion_tokens"] - 1})
            assert (whole.finish_reason, exact.finish_reason, less.finish_reason) == ("stop", "stop", "length")
            assert whole.text == exact.text == less.text == text
            stopped = await engine.ask(messages(text), {**GREEDY, "stop": [word]})
            assert (stopped.text, stopped.finish_reason) == (text[: text.index(word)], "stop")
            with pytest.raises(ContextOverflow, match="1,024 positions"):
                await engine.ask(messages(text), {**GREEDY, "max_tokens": 1000})
            with pytest.raises(RequestFailed, match="logprobs"):
                await engine.ask(messages(text), {**GREEDY, "logprobs": True})
            with pytest.raises(ConfigError, match="logprobs"):
                await engine.check({"logprobs": True})
            await engine.check(GREEDY)
            hasty = asyncio.create_task(engine.ask(messages(text), GREEDY))
            await asyncio.sleep(0)
            hasty.cancel()
            with pytest.raises(asyncio.CancelledError):
                await hasty
            assert (await engine.ask(messages(text), GREEDY)).text == text
            warm = await asyncio.gather(
                *(engine.ask(messages(text), {"temperature": 9.0, "max_tokens": 20}) for _ in range(4)),
                engine.ask(messages(text), GREEDY),
            )
            assert len({one.text for one in warm}) > 1  # hot ones differ, and leave the others in the batch alone
            assert warm[-1].text == text
        with pytest.raises(FatalError, match="not loaded"):
            await engine.ask(messages(text), GREEDY)

    asyncio.run(ask())


@pytest.mark.ci
def test_what_can_change_answers_is_part_of_the_identity(tiny_model: Tiny, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_model("copy"), tmp_path / "model")
    first = LocalEngine(folder).identity
    assert LocalEngine(folder, max_batch_tokens=64).identity == first
    assert LocalEngine(folder, dtype="bfloat16").identity != first
    assert LocalEngine(folder, revision="2").identity != first
    described = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**described, "chat_template": "{{ messages }}"}))
    changed = LocalEngine(folder).identity
    assert changed.template_digest != first.template_digest
    assert dataclasses.replace(changed, template_digest="", weights_digest="") == dataclasses.replace(
        first, template_digest="", weights_digest=""
    )
    del described["chat_template"]
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    with pytest.raises(ConfigError, match="no chat template"):
        asyncio.run(answers(folder, ["a"]))


@pytest.mark.parametrize("name", ["no/such-model", "/no/such/folder"])
def test_models_that_are_not_here(name: str) -> None:
    with pytest.raises(ConfigError, match="no model"):
        LocalEngine(name)
