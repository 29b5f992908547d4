"""Checkpoints that transformers, lighteval, lm-evaluation-harness and vLLM load, with the logits of ours.

A model is a Qwen3MoeForCausalLM where it has experts, a Qwen3ForCausalLM where it has norms of queries and keys, and a
LlamaForCausalLM otherwise. Fused matrices are cut, and the rows that fill up the embedding are left out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tokenmill.core.errors import ConfigError
from tokenmill.train.config import ModelConfig
from tokenmill.train.model import Decoder
from tokenmill.train.parallel import gather_whole, is_sharded

_OURS = "tokenmill"
"""Key of config.json that holds our own configuration; others ignore it."""


def export_hf(model: Decoder, folder: Path, tokenizer_json: bytes | None = None, eos_id: int | None = None) -> None:
    """Write config.json, generation_config.json, model.safetensors (float32) and, where given, the tokenizer.

    tokenizer_json: the file of the package `tokenizers`. eos_id: id that ends a document. Files that are there are
    replaced. Attention that keeps within documents is not written: the format has no word for it, and a single text is
    the same without. Of a sharded model all ranks must call it, and the first one writes. ConfigError for what the
    format cannot say, before anything is written.
    """
    config = model.config
    described = _describe(config, eos_id)
    state = gather_whole(model) if is_sharded(model) else model.state_dict()
    if is_sharded(model) and dist.get_rank():
        return
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "model.safetensors.partial"
    save_file({name: source.clone().contiguous() for name, source in _cut(config, state)}, partial, {"format": "pt"})
    os.replace(partial, folder / "model.safetensors")
    if tokenizer_json is not None:
        (folder / "tokenizer.json").write_bytes(tokenizer_json)
        _write(folder / "tokenizer_config.json", _describe_tokenizer(config, json.loads(tokenizer_json), eos_id))
    _write(folder / "generation_config.json", {"bos_token_id": eos_id, "eos_token_id": eos_id})
    _write(folder / "config.json", described)


def load_hf(folder: Path) -> Decoder:
    """The model that `export_hf` wrote, on the CPU. ConfigError where the folder holds none, or one of others."""
    try:
        described = json.loads((folder / "config.json").read_text())
        ours = ModelConfig.from_json(described[_OURS])
        stored = load_file(folder / "model.safetensors")
        if any(not tensor.is_floating_point() for tensor in stored.values()):
            raise ValueError("model.safetensors has tensors that are no floating-point numbers")
    except (OSError, KeyError, ValueError, TypeError, AttributeError, SafetensorError, ConfigError) as error:
        raise ConfigError(
            "no model of tokenmill can be read here",
            where=str(folder),
            why=f"{type(error).__name__}: {error}",
            fix="give the folder that export_hf wrote, with config.json and model.safetensors",
        ) from error
    model = Decoder(ours)
    state = model.state_dict()
    wanted = dict(_cut(ours, state))
    differing = {name for name in wanted.keys() | stored.keys() if _shape(wanted, name) != _shape(stored, name)}
    if differing:
        name = min(differing)
        raise ConfigError(
            f"{len(differing)} tensors of the checkpoint are not those of its configuration",
            where=str(folder / "model.safetensors"),
            why=f"{name}: the file has {_shape(stored, name)}, the model {_shape(wanted, name)}",
            fix="export the model again",
        )
    with torch.no_grad():
        for padded in (model.embedding.weight, model.head_weight):
            padded[ours.vocab_size :] = 0.0
        for name, place in wanted.items():
            place.copy_(stored[name])
    return model


def _shape(tensors: Mapping[str, Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(tensors[name].shape) if name in tensors else None


def _cut(config: ModelConfig, state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """(name of transformers, view of our tensor) of the whole model."""
    yield "model.embed_tokens.weight", state["embedding.weight"][: config.vocab_size]
    for layer in range(config.layers):
        theirs, ours = f"model.layers.{layer}.", f"blocks.{layer}."
        yield theirs + "input_layernorm.weight", state[ours + "attention_norm.weight"]
        yield theirs + "post_attention_layernorm.weight", state[ours + "feed_norm.weight"]
        heads = [part * config.head_width for part in (config.heads, config.key_heads, config.key_heads)]
        for kind, part in zip("qkv", state[ours + "attention.qkv.weight"].split_with_sizes(heads), strict=True):
            yield f"{theirs}self_attn.{kind}_proj.weight", part
        yield theirs + "self_attn.o_proj.weight", state[ours + "attention.output.weight"]
        if config.qk_norm:
            yield theirs + "self_attn.q_norm.weight", state[ours + "attention.query_norm.weight"]
            yield theirs + "self_attn.k_norm.weight", state[ours + "attention.key_norm.weight"]
        if not config.experts:
            yield from _cut_feed(theirs + "mlp.", state[ours + "feed.up.weight"], state[ours + "feed.down.weight"])
            continue
        yield theirs + "mlp.gate.weight", state[ours + "feed.router.weight"]
        for expert in range(config.experts):
            up, down = state[ours + "feed.up"][expert], state[ours + "feed.down"][expert]
            yield from _cut_feed(f"{theirs}mlp.experts.{expert}.", up, down)
    yield "model.norm.weight", state["norm.weight"]
    if not config.tied:
        yield "lm_head.weight", state["head.weight"][: config.vocab_size]


def _cut_feed(theirs: str, up: Tensor, down: Tensor) -> Iterator[tuple[str, Tensor]]:
    gate, raised = up.chunk(2)
    yield theirs + "gate_proj.weight", gate
    yield theirs + "up_proj.weight", raised
    yield theirs + "down_proj.weight", down


def _describe(config: ModelConfig, eos_id: int | None) -> dict[str, Any]:
    """config.json, in words that transformers of versions 4 and 5 read."""
    if config.activation != "swiglu":
        raise ConfigError(
            f"a model with activation={config.activation!r} cannot be exported",
            why="Llama and Qwen3 have a gated SiLU in their feed-forward layers",
            fix='train with activation="swiglu"',
        )
    if config.experts and not config.qk_norm:
        raise ConfigError(
            "a model with experts and without qk_norm cannot be exported",
            why="Qwen3-MoE, the architecture for experts, norms queries and keys",
            fix="train with qk_norm=True",
        )
    name, kind = ("Qwen3ForCausalLM", "qwen3") if config.qk_norm else ("LlamaForCausalLM", "llama")
    described: dict[str, Any] = {}
    if config.experts:
        name, kind = "Qwen3MoeForCausalLM", "qwen3_moe"
        described = {
            "num_experts": config.experts,
            "num_experts_per_tok": config.experts_per_token,
            "moe_intermediate_size": config.expert_width,
            "norm_topk_prob": True,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
            "router_aux_loss_coef": config.balance_loss,
        }
    return {
        "architectures": [name],
        "model_type": kind,
        "vocab_size": config.vocab_size,
        "hidden_size": config.width,
        "intermediate_size": config.hidden,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.key_heads,
        "head_dim": config.head_width,
        "hidden_act": "silu",
        "max_position_embeddings": config.context,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": 0.0,
        "initializer_range": config.init_std,
        "tie_word_embeddings": config.tied,
        "bos_token_id": eos_id,
        "eos_token_id": eos_id,
        "pad_token_id": None,
        "use_cache": True,
        "torch_dtype": "float32",
        **described,
        _OURS: config.to_json(),
    }


def _describe_tokenizer(config: ModelConfig, tokenizer: Mapping[str, Any], eos_id: int | None) -> dict[str, Any]:
    """tokenizer_config.json; the end of a document by its text, wherever tokenizer.json names it."""
    described: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config.context,
        "clean_up_tokenization_spaces": False,
    }
    names = {token["id"]: token["content"] for token in tokenizer.get("added_tokens", [])}
    vocabulary = tokenizer.get("model", {}).get("vocab", {})
    if eos_id is not None and eos_id not in names and isinstance(vocabulary, dict):
        names |= {number: text for text, number in vocabulary.items() if number == eos_id}
    if eos_id in names:
        described["eos_token"] = described["bos_token"] = names[eos_id]
    return described


def _write(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2) + "\n")
