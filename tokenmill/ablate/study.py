"""What all studies share: arms, protocol, runner, and the record that statistics and reports begin from."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tokenmill.ablate.blend import blend
from tokenmill.ablate.prepare import Prepared
from tokenmill.ablate.prepared import PreparedArm
from tokenmill.ablate.protocol import Protocol, make_protocol
from tokenmill.ablate.runner import Job, Runner
from tokenmill.ablate.spec import Ablation
from tokenmill.executors.runspec import versions
from tokenmill.io.runfolder import RunFolder
from tokenmill.tokens.views import TokenView

RECORD = "ablation.json"
KINDS = ("compare", "ladder", "mix", "anneal")


@dataclass(frozen=True)
class Outline:
    """A question asked of arms whose data need not be there yet: it is enough to list the runs."""

    kind: str
    ablation: Ablation
    protocol: Protocol
    """Of its runs; in studies with several, of the largest."""

    @property
    def arms(self) -> list[str]:
        return list(self.ablation.arms)

    def derive(
        self, *, size: str | None = None, tokens: int | None = None, changes: Mapping[str, Any] | None = None
    ) -> Protocol:
        """A protocol of another size or length, for the same arms."""
        return make_protocol(
            self.ablation,
            vocab_size=self.protocol.model.vocab_size,
            tokenizer=self.protocol.tokenizer,
            device=self.protocol.device,
            size=size,
            tokens=tokens,
            changes=changes,
        )

    def view(self, arm: str, seed: int) -> Callable[[], TokenView]:
        """What a job of an arm is trained on, made when it is wanted."""
        return _no_data

    def blend(self, weights: Mapping[str, float], tokens: int, seed: int) -> Callable[[], TokenView]:
        """The same for several arms by shares (`tokenmill.ablate.blend`)."""
        return _no_data


@dataclass(frozen=True)
class Study(Outline):
    """One question asked of prepared arms."""

    prepared: Prepared
    runner: Runner

    @property
    def folder(self) -> Path:
        return self.runner.folder

    def view(self, arm: str, seed: int) -> Callable[[], TokenView]:
        return lambda: self.prepared.arms[arm].view(seed)

    def blend(self, weights: Mapping[str, float], tokens: int, seed: int) -> Callable[[], TokenView]:
        return lambda: blend(self.prepared.arms, weights, tokens, seed)

    def record(
        self, jobs: Sequence[Job], arms: Mapping[str, Mapping[str, Any]] | None = None, **more: Any
    ) -> dict[str, Any]:
        """Check the jobs, then write what is to be run before it is, so that a report can say what is missing.

        arms: what is compared, where that is not the arms of the ablation. more: further keys. ConfigError where the
        folder has other runs in the place of these, or one cannot be: the record stays that of the runs that are there.
        """
        self.runner.check(jobs)
        ablation, protocol = self.ablation, self.protocol.to_json()
        tokens = self.protocol.settings.tokens
        found = {
            "name": ablation.name,
            "kind": self.kind,
            "protocol": protocol,
            "noise": ablation.sections.get("noise"),
            "margin": ablation.margin,
            "baseline": ablation.baseline,
            "arms": arms or {name: arm_facts(arm, tokens) for name, arm in self.prepared.arms.items()},
            "runs": [job.entry() for job in jobs],
            **self.runner.measures.describe(self.protocol.model.context, self.runner.device),
            "hardware": hardware(self.runner.device),
            "versions": versions(),
            "notes": list(self.prepared.notes),
            **more,
        }
        RunFolder(str(self.folder)).write_json(RECORD, json.loads(json.dumps(found)))
        return found


def _no_data() -> NoReturn:
    raise RuntimeError("the data of these arms is not prepared: an outline only lists runs")


def arm_facts(arm: PreparedArm, tokens: int) -> dict[str, Any]:
    """What reports say about an arm. tokens: that a run is trained on."""
    return {
        "what": arm.what,
        "documents": arm.documents,
        "tokens": arm.tokens,
        "bytes": arm.bytes,
        "mean_tokens": arm.mean_tokens,
        "bytes_per_token": arm.bytes_per_token,
        "held_out_documents": arm.held_out_documents,
        "epochs": tokens / max(arm.tokens, 1),
    }


def hardware(device: str) -> dict[str, Any]:
    """What the runs were made on."""
    from tokenmill.train.devices import device_name

    return {"device": device_name(device), "machine": platform.machine(), "system": platform.system()}


def seed_major(arms: Sequence[str], seeds: Sequence[int]) -> list[tuple[str, int]]:
    """All arms of a seed before the next seed, so that what a stop has left is complete pairs."""
    return [(arm, seed) for seed in seeds for arm in arms]


def steps_for(tokens: float, batch_tokens: int) -> int:
    """Whole steps for about so many tokens, at least one."""
    return max(1, math.floor(tokens / batch_tokens + 0.5))
