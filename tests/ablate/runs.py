"""Writes folders of ablations as the runner leaves them, with scores that are drawn."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tokenmill.train.evaluate.metrics import SCHEMA

BYTES = 12


def write_ablation(
    folder: Path,
    *,
    arms: Mapping[str, float],
    seeds: int = 2,
    tasks: Mapping[str, int] | None = None,
    texts: Sequence[str] = ("wikitext",),
    held_out: bool = True,
    units: int = 40,
    sigma: float = 0.003,
    evals: int = 8,
    kind: str = "compare",
    fields: Mapping[str, Mapping[str, Any]] | None = None,
    lr_check: Mapping[str, float] | None = None,
    sizes: Sequence[tuple[int, int]] = ((1_300_000, 600_000),),
    law: Any = None,
    protocol: Mapping[str, Any] | None = None,
    description: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Path:
    """arms: name -> ln(bits per byte) relative to the others, lower is better. tasks: name -> choices, 1 = open answer.

    sizes: (parameters, tokens) of a ladder; law(arm, parameters, tokens): its final loss.
    lr_check: offsets of the arms at the lower learning rate.
    """
    random = np.random.default_rng(seed)
    runs = []
    for role, offsets in (("main", arms), ("lr_check", lr_check or {})):
        for arm, offset in offsets.items():
            for number in range(seeds if role == "main" else 1):
                for size, tokens in sizes:
                    name = (
                        f"runs/{role if role != 'main' else kind}/{arm_folder(arm, arms)}/seed-{number}-{size}-{tokens}"
                    )
                    level = float(np.log(law(arm, size, tokens))) if law else offset + 0.3
                    _write_run(
                        folder / name,
                        random,
                        level=level + random.normal(0, sigma),
                        sources=[f"task/{t}" for t in tasks or {}]
                        + [f"text/{t}" for t in texts]
                        + ([f"held_out/{a}" for a in arms] if held_out else []),
                        choices={f"task/{t}": c for t, c in (tasks or {}).items()},
                        tokens=tokens,
                        evals=evals,
                        units=units,
                    )
                    runs.append(
                        {"arm": arm, "seed": number, "role": role, "folder": name, "parameters": size, "tokens": tokens}
                    )
    made = {
        "name": "an ablation",
        "kind": kind,
        "protocol": {
            "hash": "c0ffee" * 8,
            "preset": "smoke",
            "parameters": sizes[-1][0],
            "tokens": sizes[-1][1],
            "settings": {"steps": 100, "decay_steps": 20, "batch_tokens": sizes[-1][1] // 100, "lr": 0.004},
            "tokenizer": "ab" * 32,
            "match": "tokens",
            "seeds": seeds,
            "final_evals": 3,
            **(protocol or {}),
        },
        "arms": {
            arm: {
                "documents": 1000 + 17 * place,
                "tokens": 450_000 - 60_000 * place,
                "bytes": 1_700_000,
                "mean_tokens": 400.0,
                "bytes_per_token": 3.9,
                "epochs": 1.3 + place,
                "what": f"recipe {place}",
                **((fields or {}).get(arm, {})),
            }
            for place, arm in enumerate(arms)
        },
        "baseline": next(iter(arms)),
        "runs": runs,
        "texts": list(texts),
        "held_out": list(arms) if held_out else [],
        "tasks": list(tasks or {}),
        "hardware": {"device": "cpu", "cores": 2},
        **(description or {}),
    }
    (folder / "ablation.json").write_text(json.dumps(made), encoding="utf-8")
    return folder


def arm_folder(arm: str, arms: Mapping[str, Any]) -> str:
    """A folder that any name of an arm can have."""
    return f"arm-{list(arms).index(arm)}"


def _write_run(
    folder: Path,
    random: np.random.Generator,
    *,
    level: float,
    sources: Sequence[str],
    choices: Mapping[str, int],
    tokens: int,
    evals: int,
    units: int,
) -> None:
    folder.mkdir(parents=True)
    lines = []
    for number in range(evals + 1):
        share = number / evals
        falling = level + 1.2 * (1 / (1 + 9 * share) - 0.1)
        metrics: dict[str, float] = {}
        tables = []
        for place, source in enumerate(sources):
            fixed = np.random.default_rng([place, 7])
            ease = fixed.lognormal(0, 0.4, units)
            nats = BYTES * np.log(2) * ease * np.exp(falling + 0.03 * place + random.normal(0, 0.02, units))
            metrics[f"{source}/bpb"] = float(nats.sum() / np.log(2) / (BYTES * units))
            many = choices.get(source, 1)
            wrong = nats[:, None] * np.exp(fixed.normal(0.06 + 0.5 * share, 0.3, (units, max(many - 1, 0))))
            if many > 1:
                metrics[f"{source}/acc"] = float((nats < wrong.min(axis=1)).mean())
            tables.append(_items(source, np.concatenate([nats[:, None], wrong], axis=1)))
        step = round(100 * share)
        lines.append({"step": step, "tokens": round(tokens * share), "metrics": metrics})
        if number > evals - 3 and tables:
            pq.write_table(pa.concat_tables(tables), folder / f"items-{step}.parquet")
    (folder / "evals.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    result = {
        "steps": 100,
        "tokens": tokens,
        "seconds": 45.5,
        "tokens_per_second": tokens / 45.5,
        "mfu": None,
        "flops": 6.0 * 1.3e6 * tokens,
        "peak_bytes": 600_000_000,
        "spikes": 0,
    }
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


def _items(source: str, nats: Any) -> pa.Table:
    units, many = nats.shape
    return pa.table(
        {
            "task": pa.array([source] * nats.size).dictionary_encode(),
            "item": np.repeat(np.arange(units, dtype=np.int32), many),
            "unit": np.repeat(np.arange(units, dtype=np.int32), many),
            "choice": np.tile(np.arange(many, dtype=np.int16), units),
            "gold": np.tile(np.arange(many) == 0, units),
            "nats": nats.ravel(),
            "tokens": np.full(nats.size, 3, np.int32),
            "characters": np.full(nats.size, BYTES, np.int32),
            "bytes": np.full(nats.size, BYTES, np.int32),
            "greedy": np.zeros(nats.size, bool),
        }
    ).cast(SCHEMA)
