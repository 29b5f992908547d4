"""From runs to all that is said about them: gates, the primary score, verdicts, studies, caveats.

The primary score of a run is the mean over tasks of ln(bits per byte of the gold answer): a geometric mean, so that
differences are relative and all tasks weigh the same. Tasks are those whose deciding gates are open; where there are
none, the neutral texts. Held-out documents of the arms never rank arms: junk predicts junk best.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from tokenmill.ablate.gates import TaskGates, task_gates
from tokenmill.ablate.multiplier import Multiplier, effective_data
from tokenmill.ablate.noise import Noise, prior_noise
from tokenmill.ablate.regression import Proposal, Regression, best_mixture, fit_mixtures
from tokenmill.ablate.scaling import DRAWS as MOST_FITS
from tokenmill.ablate.scaling import Points, Scaling, fit_scaling
from tokenmill.ablate.scores import Floats, Ints, Run, Scores, random_centred
from tokenmill.ablate.statistics import DRAWS, Panel, arm_means
from tokenmill.ablate.verdict import Judgement, judge
from tokenmill.core.errors import ConfigError

FEW_UNITS = 20.0
"""Units of a task or text, as if all were of one size, below which its noise is not known."""
MOST_EPOCHS = 4.0
"""Repeated data is about as good as fresh up to here (Muennighoff et al. 2023, arXiv 2305.16264)."""
LIMITS = (
    "Models of up to 60M parameters say little about knowledge tests in multiple-choice form (MMLU), mathematics"
    " or code.",
    "Arms with fewer unique tokens repeat them; beyond 4 epochs a repeated token is worth less than a fresh one.",
    "All arms share one learning rate; rankings of small models can flip with it (arXiv 2512.24503).",
    "A classifier trained towards a benchmark's style favours that benchmark: educational filters and ARC or MMLU."
    " Look at tasks of other kinds next to them.",
    "Held-out loss on an arm's own documents is shown and never ranks arms.",
)


@dataclass(frozen=True, eq=False)
class Analysis:
    """What the reports and the decision are made of."""

    scores: Scores
    """The runs that are compared: in a ladder the largest."""
    everything: Scores
    gates: tuple[TaskGates, ...]
    primary: Literal["task", "text", "none"]
    names: tuple[str, ...]
    """Tasks or texts in the primary score."""
    panel: Panel
    noise: Noise
    judgement: Judgement | None
    """None without a score."""
    multipliers: Mapping[tuple[str, str], Multiplier]
    scaling: Scaling | None
    regression: Regression | None
    proposal: Proposal | None
    notes: tuple[str, ...]
    """What could not be said, in words."""

    @cached_property
    def caveats(self) -> tuple[str, ...]:
        """What a reader must know before believing the verdict; the general limits are `LIMITS`."""
        found = [*map(str, self.everything.description.get("notes") or ()), *self.notes, *self.everything.doubts]
        if self.everything.missing:
            number = len(self.everything.missing)
            found.append(f"unfinished: {number} run{' is' if number == 1 else 's are'} missing")
        for arm, fields in self.scores.description["arms"].items():
            epochs = _number(fields.get("epochs"))
            if epochs > MOST_EPOCHS:
                found.append(f"{arm} saw its documents {epochs:.1f} times; more than {MOST_EPOCHS:g} is worth less")
        found += self._few_units()
        if self.judgement is not None:
            found += _doubts_of(self.judgement)
        if self.scaling is not None:
            found.extend(self.scaling.caveats)
        return tuple(found)

    def _few_units(self) -> list[str]:
        found = []
        for name in self.names:
            units = self.scores.units(f"{self.primary}/{name}")
            if units is None:
                continue
            number = units.bytes.size
            equal = float(units.bytes.sum() ** 2 / (units.bytes**2).sum())
            if equal < FEW_UNITS:
                found.append(
                    f"{name} is measured on {number} units, which say as much as {equal:.1f} of one size: how much the"
                    " choice of units matters is not known from so few, and intervals may be too narrow"
                )
        return found

    def aggregate(self) -> tuple[Ints, Floats]:
        """(tokens (evaluations,), primary score (arms, seeds, evaluations)) over the training."""
        return primary_curve(self.scores, self.primary, self.names)

    def accuracy(self) -> Floats:
        """(arms, seeds): mean of the random-centred accuracies of the tasks in the aggregate; NaN without any.

        Only of tasks whose accuracy says something at this size.
        """
        found = [
            random_centred(self.scores.final(metric), chance)
            for gate in self.gates
            if gate.passed
            and self.scores.accuracy_is_informative(gate.task)
            and (metric := self.scores.accuracy(gate.task)) is not None
            and not math.isnan(chance := self.scores.chance(gate.task))
        ]
        empty = np.full((len(self.scores.arms), len(self.scores.seeds)), np.nan)
        return np.mean(found, axis=0) if found else empty


def analyse(scores: Scores, *, draws: int = DRAWS, seed: int = 0) -> Analysis:
    """Everything that follows from the runs of an ablation. Deterministic for a seed."""
    everything, scores = scores, _largest(scores)
    gates = tuple(task_gates(scores, task) for task in scores.names("task"))
    primary, names, notes = _primary(scores, gates)
    panel = make_panel(scores, primary, names)
    protocol = everything.protocol
    given = protocol.get("noise", everything.description.get("noise"))
    margin = _number(protocol.get("margin", everything.description.get("margin")), 0.0)
    noise = prior_noise(str(protocol.get("preset", "")), "task" if primary == "task" else "text", given)
    judgement = None
    if np.isfinite(panel.values).any():
        lr = make_panel(scores, primary, names, "lr_check")
        compared = _compared(scores, panel)
        judgement = judge(
            panel.of(compared),
            noise,
            margin=margin,
            lr=lr.of(compared) if np.isfinite(lr.values).any() else None,
            baseline=compared.index(scores.arms.index(scores.baseline)),
            draws=draws,
            seed=seed,
        )
    scaling, more = _scaling(everything, primary, names, min(draws, MOST_FITS), seed)
    regression, proposal, last = _mixtures(everything, panel, seed)
    multipliers = _multipliers(scores, primary, names, noise)
    found = (*notes, *more, *last)
    return Analysis(
        scores,
        everything,
        gates,
        primary,
        names,
        panel,
        noise,
        judgement,
        multipliers,
        scaling,
        regression,
        proposal,
        found,
    )


def _doubts_of(judgement: Judgement) -> list[str]:
    """What the statistics had to assume."""
    found = []
    measured, noise = judgement.measured, judgement.noise
    if measured.df <= 0 and len(judgement.arms) > 1:
        found.append("the noise between seeds is assumed, not measured: run more seeds")
    if judgement.loud:
        found.append(
            f"the runs are noisier than was believed: {100 * math.sqrt(measured.variance):.2f} % was measured with"
            f" {measured.df:g} degrees of freedom, the prior is {100 * noise.sigma:.2f} %; it is set aside, so that few"
            " seeds say little"
        )
    checks = [pair.lr_check for pair in judgement.pairs]
    if "flips" in checks:
        found.append("LR-sensitive: at a quarter of the learning rate some pairs are ranked the other way")
    unchecked = checks.count("not run")
    if unchecked and unchecked == len(checks):
        found.append("the learning-rate check was not run")
    elif unchecked:
        found.append(f"the learning-rate check was not run for {unchecked} of {len(checks)} pairs")
    return found


def _compared(scores: Scores, panel: Panel) -> list[int]:
    """The arms that are judged: of mixtures the proposal against the baseline, once it is trained; else all.

    The random mixtures have been searched for the best already, and their number would hide what the check finds.
    """
    arms = scores.description["arms"]
    proposed = [
        at
        for at, arm in enumerate(scores.arms)
        if arms[arm].get("proposal") and bool(np.isfinite(panel.values[at]).any())
    ]
    if scores.kind == "mix" and proposed:
        return sorted({scores.arms.index(scores.baseline), *proposed})
    return list(range(len(scores.arms)))


def make_panel(scores: Scores, primary: str, names: tuple[str, ...], role: str = "main") -> Panel:
    """The primary score at the end of the training, with the units behind it."""
    empty = np.full((len(scores.arms), len(scores.seeds)), np.nan)
    if not names:
        return Panel(scores.arms, empty)
    values = np.mean([np.log(scores.final(f"{primary}/{name}/bpb", role)) for name in names], axis=0)
    units = [scores.units(f"{primary}/{name}", role) for name in names]
    known = tuple(one.nats for one in units if one is not None)
    # with tables for some tasks only, their share of the items' noise would be taken for the whole
    return Panel(scores.arms, values, known if len(known) == len(names) else ())


def primary_curve(scores: Scores, primary: str, names: tuple[str, ...]) -> tuple[Ints, Floats]:
    """(tokens, ln(bits per byte) (arms, seeds, evaluations)), mean over tasks or texts."""
    if not names:
        return np.zeros(0, np.int64), np.zeros((len(scores.arms), len(scores.seeds), 0))
    curves = [scores.curve(f"{primary}/{name}/bpb") for name in names]
    tokens = curves[0][0]
    for other, _ in curves[1:]:
        tokens = np.intersect1d(tokens, other)
    kept = [np.log(values[:, :, np.isin(at, tokens)]) for at, values in curves]
    return tokens.astype(np.int64), np.mean(kept, axis=0)


def _number(value: Any, default: float = math.nan) -> float:
    return float(value) if isinstance(value, int | float) else default


def _largest(scores: Scores) -> Scores:
    """In a ladder the runs with the most compute, which are compared like any others; else all."""
    if scores.kind != "ladder" or not scores.runs:
        return scores
    top = max(_compute(run) for run in scores.runs)
    return replace(scores, runs=tuple(r for r in scores.runs if _compute(r) == top))


def _tokens(run: Run) -> float:
    return _number((run.result or {}).get("tokens", run.entry.get("tokens")), 0.0)


def _compute(run: Run) -> float:
    return run.parameters * _number(run.entry.get("tokens"), _tokens(run))


def _primary(
    scores: Scores, gates: tuple[TaskGates, ...]
) -> tuple[Literal["task", "text", "none"], tuple[str, ...], tuple[str, ...]]:
    """(kind, names, notes)"""
    tasks = tuple(gate.task for gate in gates if gate.passed)
    texts = scores.names("text")
    if tasks:
        return "task", tasks, ()
    shut = ("no task has passed its gates; the neutral texts decide",) if gates else ()
    if texts:
        return "text", texts, shut
    if gates:
        return "task", tuple(g.task for g in gates), ("no task has passed its gates and there is no neutral text",)
    return "none", (), ("nothing was evaluated that could rank arms: give a kit of tasks or a neutral text",)


def _multipliers(
    scores: Scores, primary: str, names: tuple[str, ...], noise: Noise
) -> dict[tuple[str, str], Multiplier]:
    """Of every arm against the baseline."""
    tokens, curves = primary_curve(scores, primary, names)
    settings = scores.protocol.get("settings")
    settings = settings if isinstance(settings, Mapping) else {}
    steps, decay = _number(settings.get("steps")), _number(settings.get("decay_steps"), 0.0)
    stable = (steps - decay) * _number(settings.get("batch_tokens")) if decay else math.inf
    baseline = scores.arms.index(scores.baseline)
    found = {}
    for at, arm in enumerate(scores.arms):
        if at != baseline:
            limit = math.inf if math.isnan(stable) else stable
            one = effective_data(tokens, curves[at], curves[baseline], noise, stable_tokens=limit)
            if one is not None:
                found[arm, scores.baseline] = one
    return found


def ladder_points(scores: Scores, primary: str, names: tuple[str, ...]) -> dict[str, Points]:
    """Runs of a ladder by arm: only (parameters, tokens, seed) that all arms have finished."""
    by_arm: dict[str, dict[tuple[float, float, int], float]] = {arm: {} for arm in scores.arms}
    for run in scores.runs:
        if run.role != "main" or run.result is None or not run.parameters:
            continue
        one = replace(scores, runs=(run,))
        value = make_panel(one, primary, names).values[scores.arms.index(run.arm), scores.seeds.index(run.seed)]
        if math.isfinite(value):
            by_arm[run.arm][float(run.parameters), _tokens(run), run.seed] = math.exp(value)
    common = sorted(set.intersection(*(set(one) for one in by_arm.values())))
    n, d = np.array([key[0] for key in common]), np.array([key[1] for key in common])
    # a size is trained once for a seed, shorter runs branch off it (`tokenmill.ablate.ladder`)
    known = sorted({(key[0], key[2]) for key in common})
    trunks = np.array([known.index((key[0], key[2])) for key in common], dtype=np.int64)
    return {arm: Points(n, d, np.array([one[key] for key in common]), trunks) for arm, one in by_arm.items()}


def _scaling(
    scores: Scores, primary: str, names: tuple[str, ...], draws: int, seed: int
) -> tuple[Scaling | None, tuple[str, ...]]:
    if scores.kind != "ladder" or not names:
        return None, ()
    target = scores.description.get("target")
    goal = None
    if isinstance(target, Mapping) and target.get("parameters") and target.get("tokens"):
        goal = (float(target["parameters"]), float(target["tokens"]))
    try:
        return fit_scaling(ladder_points(scores, primary, names), goal, draws=draws, seed=seed), ()
    except ConfigError as error:
        return None, (f"no law of scaling: {error.what}: {error.why}",)


def _recorded(arms: Mapping[str, Mapping[str, Any]], sources: tuple[str, ...]) -> list[float] | None:
    """The weights of the proposal that was trained: with its own runs the regression would propose another one."""
    weights = next((a["weights"] for a in arms.values() if a.get("proposal") and a.get("weights")), None)
    return None if weights is None else [float(weights.get(s, 0)) for s in sources]


def _mixtures(scores: Scores, panel: Panel, seed: int) -> tuple[Regression | None, Proposal | None, tuple[str, ...]]:
    """For `mix`: arms have `weights` (source -> share); the regression leaves out the arm that checks it."""
    if scores.kind != "mix":
        return None, None, ()
    arms = scores.description["arms"]
    sources = tuple(next((a["weights"] for a in arms.values() if isinstance(a.get("weights"), Mapping)), {}))
    used = [
        at
        for at, name in enumerate(scores.arms)
        if isinstance(arms[name].get("weights"), Mapping)
        and not arms[name].get("proposal")
        and np.isfinite(panel.values[at]).any()
    ]
    if not sources or not used:
        return None, None, ("no regression: no arm has weights and a score",)
    weights = np.array([[float(arms[scores.arms[a]]["weights"].get(s, 0)) for s in sources] for a in used])
    # the natural mixture has more seeds than the others: what a seed does to all is taken out
    targets = arm_means(panel.values[used])
    study = scores.description.get("mix")
    study = study if isinstance(study, Mapping) else {}
    try:
        fitted = fit_mixtures(sources, weights, targets, study.get("form", "linear"))
        natural = study.get("natural") or {s: float(w) for s, w in zip(sources, weights[0], strict=True)}
        limits = study.get("limits")
        proposal = best_mixture(
            fitted,
            weights,
            [float(natural[s]) for s in sources],
            limits=[float(limits[s]) for s in sources] if limits else None,
            chosen=_recorded(arms, sources),
            seed=seed,
        )
    except ConfigError as error:
        return None, None, (f"no regression: {error.what}: {error.why}",)
    return fitted, proposal, ()
