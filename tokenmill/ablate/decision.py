"""decision.json: the verdict for machines, and the exit code of a gate in continuous integration."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenmill.ablate.analysis import LIMITS, Analysis
from tokenmill.ablate.verdict import Judgement, Pair, Verdict
from tokenmill.core.errors import ConfigError, did_you_mean

VERSION = 1
FAIL_ON = ("never", "worse", "not-better")
_ORDER: tuple[Verdict, ...] = ("TIE", "LEAN", "WIN")


def decide(analysis: Analysis) -> dict[str, Any]:
    """The decision as plain values, without NaN.

    winner: the arm that is most probably best; null where its verdict is TIE, or where an arm has no run yet. verdict:
    its weakest against any other arm, so a WIN is a WIN against all. leaders: the winner-to-be and all arms that it
    does not beat, those with which it shares no seed included. effect, interval, mde and seeds_needed are those of
    that weakest pair (ln of bits per byte; positive = better). provisional: runs are missing that may change all this.
    """
    scores, judgement = analysis.scores, analysis.judgement
    found: dict[str, Any] = {
        "version": VERSION,
        "name": scores.description.get("name"),
        "kind": scores.kind,
        "protocol": scores.protocol.get("hash"),
        "primary": {"kind": analysis.primary, "names": list(analysis.names), "score": "mean ln(bits per byte)"},
        "baseline": scores.baseline,
        "winner": None,
        "verdict": None,
        "p_best": None,
        "leaders": [],
        "effect": None,
        "interval": None,
        "mde": None,
        "seeds_needed": None,
        "lr_check": "not run",
        "pairs": [],
        "gates": {gate.task: {"passed": gate.passed, "reasons": list(gate.reasons)} for gate in analysis.gates},
        "extrapolation": _extrapolation(analysis),
        "complete": not analysis.everything.missing,
        "provisional": bool(analysis.everything.missing),
        "unscored": list(judgement.unscored) if judgement is not None else list(scores.arms),
        "missing": list(analysis.everything.missing),
        "caveats": list(analysis.caveats),
        "limits": list(LIMITS),
    }
    if judgement is not None:
        found["p_best"] = {
            arm: None if arm in judgement.unscored else float(p)
            for arm, p in zip(judgement.arms, judgement.p_best, strict=True)
        }
        found["pairs"] = [_pair(pair) for pair in judgement.pairs]
        found.update(_winner(judgement))
    cleaned: dict[str, Any] = _clean(found)
    return cleaned


def _winner(judgement: Judgement) -> dict[str, Any]:
    best, unscored = judgement.best, judgement.unscored
    others = [arm for arm in judgement.arms if arm != best and arm not in unscored]
    pairs = [pair for arm in others if (pair := judgement.pair(best, arm)) is not None]
    # an arm that shares no seed with the best is not beaten by it
    apart = [arm for arm in others if judgement.pair(best, arm) is None]
    if not pairs:
        return {"verdict": "TIE" if apart else None, "leaders": [best, *apart]}
    weakest = min(pairs, key=lambda pair: (_rank(pair), pair.estimate.p_better))
    verdict: Verdict = "TIE" if apart else _ORDER[_rank(weakest)]
    return {
        "winner": best if verdict != "TIE" and not unscored else None,
        "verdict": verdict,
        "leaders": [best, *(pair.second for pair in pairs if _rank(pair) == 0), *apart],
        "against": weakest.second,
        "effect": weakest.estimate.effect,
        "interval": list(weakest.estimate.moderated),
        "mde": weakest.estimate.detectable,
        "seeds_needed": weakest.estimate.seeds_needed,
        "lr_check": weakest.lr_check,
    }


def _rank(pair: Pair) -> int:
    """Place of the verdict in favour of the first arm; a verdict against it counts as none for it."""
    return _ORDER.index(pair.verdict) if pair.estimate.effect > 0 else 0


def _pair(pair: Pair) -> dict[str, Any]:
    one = pair.estimate
    return {
        "first": pair.first,
        "second": pair.second,
        "verdict": pair.verdict,
        "better": pair.better,
        "effect": one.effect,
        "interval": list(one.moderated),
        "interval_bootstrap": list(one.bootstrap),
        "p_better": one.p_better,
        "p_adjusted": pair.p,
        "seeds": one.seeds,
        "mde": one.detectable,
        "seeds_needed": one.seeds_needed,
        "lr_check": pair.lr_check,
        "notes": list(pair.notes),
    }


def _extrapolation(analysis: Analysis) -> dict[str, Any] | None:
    scaling = analysis.scaling
    if scaling is None:
        return None
    return {
        "target": {"parameters": scaling.target[0], "tokens": scaling.target[1]},
        "factor": scaling.extrapolation,
        "loss": {a: float(v) for a, v in zip(scaling.arms, scaling.predicted, strict=True)},
        "p_best": {a: float(v) for a, v in zip(scaling.arms, scaling.p_best, strict=True)},
        "crossover": scaling.crossover,
        "holdout_error": {a: float(v) for a, v in zip(scaling.arms, scaling.holdout, strict=True)},
    }


def _clean(value: Any) -> Any:
    """Without numbers that JSON has not."""
    if isinstance(value, Mapping):
        return {str(k): _clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def write_decision(analysis: Analysis, folder: Path) -> Path:
    """Writes decision.json; the same runs give the same bytes."""
    path = folder / "decision.json"
    text = json.dumps(decide(analysis), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    path.write_text(text, encoding="utf-8")
    return path


def exit_code(decision: Mapping[str, Any], fail_on: str = "never", candidate: str | None = None) -> int:
    """0, or 1 where the gate is shut.

    worse: the candidate is worse than the baseline with the verdict WIN. not-better: it is not better with the verdict
    WIN. Without a candidate all arms but the baseline are candidates. A comparison that has not been made (unfinished,
    no score) shuts both gates: a gate that is open for lack of evidence is none. ConfigError for names that are not
    known.
    """
    if fail_on not in FAIL_ON:
        raise ConfigError(f"no gate named {fail_on!r}", where="--fail-on", fix=did_you_mean(fail_on, FAIL_ON))
    arms = sorted(
        {*(decision.get("p_best") or {}), *(p[k] for p in decision["pairs"] for k in ("first", "second"))}
        | {decision["baseline"]}
    )
    if candidate is not None and (candidate not in arms or candidate == decision["baseline"]):
        raise ConfigError(
            f"{candidate!r} is not an arm that is compared with the baseline {decision['baseline']!r}",
            where="--candidate",
            fix=did_you_mean(candidate, [arm for arm in arms if arm != decision["baseline"]]),
        )
    if fail_on == "never":
        return 0
    candidates = [candidate] if candidate is not None else [a for a in arms if a != decision["baseline"]]
    if not candidates:
        return 1
    return int(any(_shut(decision, fail_on, one) for one in candidates))


def _shut(decision: Mapping[str, Any], fail_on: str, candidate: str) -> bool:
    names = {candidate, decision["baseline"]}
    pair = next((p for p in decision["pairs"] if {p["first"], p["second"]} == names), None)
    if pair is None:
        return True
    if fail_on == "worse":
        return bool(pair["verdict"] == "WIN" and pair["better"] == decision["baseline"])
    return not (pair["verdict"] == "WIN" and pair["better"] == candidate)
