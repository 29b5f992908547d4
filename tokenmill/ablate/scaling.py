"""Laws of scaling per arm: L(N, D) = E + A / N^alpha + B / D^beta, what they predict, and how many tokens an arm is
worth.

Given the exponents, the law is linear in (E, A, B): variable projection searches a grid of exponents with non-negative
least squares inside, so there are no bad minima (arXiv 2603.22339). Then Huber's loss (1e-3) of the log residuals is
minimised, *summed*: averaged, its steps fall below an optimiser's tolerance and it stops early (Besiroglu et al. 2024,
arXiv 2404.10102, on Hoffmann et al. 2022). Exponents are common to all arms first, then free.

Intervals are from a parametric bootstrap with the design kept: of few runs, drawing runs leaves designs from which the
law cannot be fitted, and drawing residuals is too narrow, as a fit this close to least absolute errors passes
through as many points as it has coefficients (intervals of 90 % held 73 %). Noise is normal with the covariance of the
arms' residuals, as runs of one (size, tokens, seed) belong together; that covariance is itself uncertain, so each draw
is scaled as in Student's t. Branches of one trunk (size, seed) share most of their noise: they have their weights from
it. A law swallows what all branches of a size have in common, so that residuals alone would be too small; their squares
are divided by what they are expected to be with such noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from tokenmill.ablate.scores import Floats
from tokenmill.core.errors import ConfigError

FEWEST = 6
"""Points per arm below which no law is fitted."""
FAR = 30.0
"""Extrapolation in compute that is warned of."""
HUBER = 1e-3
TRUNK_SHARE = 0.8
"""Share of the variance of a run that branches of one trunk have in common. Assumed, not measured: a branch is trained
by itself for its decay only."""
DRAWS = 1000
INTERVAL = (0.05, 0.95)
_GRID = np.linspace(0.02, 1.2, 60)
_SETS = [list(s) for size in (1, 2, 3) for s in combinations(range(3), size)]
_FLOOR = 1e-9
_STEPS = 60


@dataclass(frozen=True, eq=False)
class Points:
    """Runs of one arm."""

    parameters: Floats
    """(runs,) N: matmul parameters with the head."""
    tokens: Floats
    """(runs,) D: trained tokens."""
    loss: Floats
    """(runs,) any loss above 0, the same for all arms (bits per byte of neutral text)."""
    trunks: npt.NDArray[np.int64] | None = None
    """(runs,) runs with the same number are branches of one run; None: all are runs of their own."""

    @property
    def compute(self) -> Floats:
        """(runs,) training FLOPs, 6 N D."""
        found: Floats = 6 * self.parameters * self.tokens
        return found


@dataclass(frozen=True, eq=False)
class Law:
    """A fitted law with draws of its bootstrap. Rows of `draws`: E, A, B, alpha, beta."""

    coefficients: Floats
    """(5,): E, A, B, alpha, beta."""
    draws: Floats
    """(draws, 5)"""
    residuals: Floats
    """(runs,) ln(seen / fitted)."""

    def loss(self, parameters: float, tokens: float) -> float:
        """Predicted loss."""
        return float(law(self.coefficients, parameters, tokens))

    def interval(self, parameters: float, tokens: float) -> tuple[float, float]:
        """90 % interval of the predicted loss (of the law, without the noise of a run)."""
        low, high = np.quantile(law(self.draws, parameters, tokens), INTERVAL)
        return (float(low), float(high))

    def intervals(self) -> Floats:
        """(5, 2): 90 % intervals of the coefficients."""
        found: Floats = np.quantile(self.draws, INTERVAL, axis=0).T
        return found


@dataclass(frozen=True, eq=False)
class Scaling:
    """Laws of all arms, and what follows for the target."""

    arms: tuple[str, ...]
    common: tuple[Law, ...]
    """With common exponents."""
    free: tuple[Law, ...]
    target: tuple[float, float]
    """(N, D)"""
    predicted: Floats
    """(arms,) losses at the target, common exponents."""
    intervals: Floats
    """(arms, 2): 90 %."""
    p_best: Floats
    """(arms,)"""
    extrapolation: float
    """Compute of the target over that of the largest run."""
    crossover: float | None
    """Compute at which the two arms that are best at the target change places; None: none seen in between."""
    holdout: Floats
    """(arms,) ln(seen / predicted) of the largest run by a law that has not seen it; NaN where too few points are
    left."""
    caveats: tuple[str, ...]


def law(coefficients: Floats, parameters: float | Floats, tokens: float | Floats) -> Floats:
    """L(N, D) for (..., 5) coefficients, broadcast against N and D."""
    e, a, b, alpha, beta = np.moveaxis(np.asarray(coefficients, np.float64), -1, 0)
    found: Floats = e + a * np.power(parameters, -alpha) + b * np.power(tokens, -beta)
    return found


def fit_scaling(
    points: dict[str, Points], target: tuple[float, float] | None = None, *, draws: int = DRAWS, seed: int = 0
) -> Scaling:
    """Fits all arms and predicts them at the target (N, D); the default is ten times the compute of the largest run.

    ConfigError below 6 points in an arm, or where arms were not run at the same sizes and tokens (pairing would be
    lost).
    """
    arms = tuple(points)
    _check(points)
    common = _fit(list(points.values()), shared=True, draws=draws, seed=seed)
    free = tuple(_fit([p], shared=False, draws=draws, seed=seed)[0] for p in points.values())
    first = points[arms[0]]
    largest = int(np.argmax(first.compute))
    n, d = float(first.parameters[largest]), float(first.tokens[largest])
    goal = target or (n * math.sqrt(10), d * math.sqrt(10))
    predicted = np.array([one.loss(*goal) for one in common])
    drawn = np.stack([law(one.draws, *goal) for one in common], axis=1)
    best = np.bincount(np.argmin(drawn, axis=1), minlength=len(arms)) / len(drawn)
    factor = goal[0] * goal[1] / (n * d)
    return Scaling(
        arms=arms,
        common=common,
        free=free,
        target=goal,
        predicted=predicted,
        intervals=np.array([one.interval(*goal) for one in common]),
        p_best=best,
        extrapolation=factor,
        crossover=_crossover(common, predicted, first, goal),
        holdout=_holdout(points),
        caveats=_caveats(first, factor),
    )


def _check(points: dict[str, Points]) -> None:
    first = next(iter(points.values()))
    for arm, one in points.items():
        distinct = len({(n, d) for n, d in zip(one.parameters, one.tokens, strict=True)})
        if distinct < FEWEST:
            raise ConfigError(
                f"no law is fitted to {distinct} points",
                where=f"arm {arm}",
                why=f"five coefficients need at least {FEWEST} different (parameters, tokens)",
                fix="add sizes or amounts of tokens to the ladder; 4 sizes over 16 times the compute are a good start",
            )
        if not (np.isfinite(one.loss).all() and (one.loss > 0).all()):
            raise ConfigError(f"a loss of arm {arm} is not above 0", fix="finish the ladder first")
        if not (np.array_equal(one.parameters, first.parameters) and np.array_equal(one.tokens, first.tokens)):
            raise ConfigError(f"arm {arm} was run at other sizes than the first arm", fix="finish the ladder first")


def _caveats(first: Points, factor: float) -> tuple[str, ...]:
    found = []
    if factor > FAR:
        found.append(f"the target is {factor:.0f} times the compute of the largest run; beyond {FAR:g} is a guess")
    if len(np.unique(np.round(np.log(first.tokens / first.parameters), 2))) < 3:
        found.append("fewer than 3 ratios of tokens to parameters: A and B are told apart badly")
    if len(np.unique(first.parameters)) < 4 or first.compute.max() < 16 * first.compute.min():
        found.append("fewer than 4 sizes, or less than 16 times the compute between smallest and largest")
    if _shared_noise(first) is not None:
        trunks = np.unique(first.trunks).size if first.trunks is not None else 0
        found.append(
            f"the {first.loss.size} runs of an arm are branches of {trunks} trunks: {100 * TRUNK_SHARE:.0f} % of their"
            " noise is taken to be common to a trunk (assumed), and probabilities and intervals rest on that"
        )
    return tuple(found)


def _fit(points: list[Points], *, shared: bool, draws: int, seed: int) -> tuple[Law, ...]:
    """Laws of arms that share their exponents, bootstrapped together."""
    n, d = points[0].parameters, points[0].tokens
    losses = np.log(np.stack([p.loss for p in points]))
    start = _project(n, d, np.exp(losses))
    theta = _polish(n, d, losses[None], start[None])[0]
    fitted = np.log(_predict(theta, n, d))
    left = losses - fitted
    runs = n.size
    free = 3 + 2 / len(points)
    expected = df = max(1.0, runs - free)
    random = np.random.default_rng([seed, 0x5CA1E])
    standard = random.standard_normal((draws, runs, len(points)))
    together = _shared_noise(points[0])
    if together is not None:
        expected, df = _expected(_jacobian(theta[None], n, d)[0], together, len(points))
        standard = np.einsum("rq,dqa->dra", np.linalg.cholesky(together), standard)
    level, axes = np.linalg.eigh(left @ left.T / expected)
    noise = standard @ (axes * np.sqrt(np.clip(level, 0, None))).T
    noise *= np.sqrt(df / random.chisquare(df, draws))[:, None, None]
    again = fitted[None] + noise.transpose(0, 2, 1)
    drawn = _polish(n, d, again, np.repeat(theta[None], draws, axis=0))
    return tuple(Law(_shown(theta, arm), _shown(drawn, arm), left[arm]) for arm in range(len(points)))


def _shared_noise(points: Points) -> Floats | None:
    """(runs, runs) correlation of runs by their trunks; None where every run is one of its own."""
    trunks = points.trunks
    if trunks is None or np.unique(trunks).size == trunks.size:
        return None
    found: Floats = TRUNK_SHARE * (trunks[:, None] == trunks[None]) + (1 - TRUNK_SHARE) * np.eye(trunks.size)
    return found


def _expected(jacobian: Floats, shared: Floats, arms: int) -> tuple[float, float]:
    """(expected sum of squared residuals of an arm over the variance of a run, its degrees of freedom).

    Residuals are what the law leaves of the noise: (1 - hat matrix) noise. Degrees of freedom as in Satterthwaite.
    """
    basis, values, _ = np.linalg.svd(jacobian, full_matrices=False)
    basis = basis[:, values > 1e-10 * values[0]]
    left = np.kron(np.eye(arms), shared)
    left = left - basis @ (basis.T @ left)
    trace = float(np.trace(left))
    df = trace**2 / float((left * left.T).sum())
    return max(trace / arms, 1e-3), max(1.0, df / arms)


def _shown(theta: Floats, arm: int) -> Floats:
    """E, A, B, alpha, beta of one arm, from (..., 2 + 3 arms)."""
    found: Floats = np.concatenate([np.exp(theta[..., 2 + 3 * arm : 5 + 3 * arm]), theta[..., :2]], axis=-1)
    return found


def _project(n: Floats, d: Floats, losses: Floats) -> Floats:
    """The start: the best exponents of a grid, refined, with non-negative coefficients: (alpha, beta, ln E, A, B ...).

    Residuals are relative (weights 1 / loss), as in the loss that follows.
    """
    alphas = betas = _GRID
    best = np.zeros(2)
    for _ in range(4):
        a, b = (x.ravel() for x in np.meshgrid(alphas, betas, indexing="ij"))
        total = np.zeros(a.size)
        for loss in losses:
            total += _least(_design(n, d, a, b), loss)[1]
        best = np.array([a[np.argmin(total)], b[np.argmin(total)]])
        step = alphas[1] - alphas[0]
        alphas = np.clip(best[0] + np.linspace(-step, step, 13), 1e-3, 3.0)
        betas = np.clip(best[1] + np.linspace(-step, step, 13), 1e-3, 3.0)
    columns = _design(n, d, best[:1], best[1:])
    rows = [best]
    for loss in losses:
        found = _least(columns, loss)[0][0]
        rows.append(np.log(np.maximum(found, _FLOOR * loss.mean())))
    theta: Floats = np.concatenate(rows)
    # of N and D relative to their geometric means to the absolute ones
    theta[3::3] += best[0] * np.log(n).mean()
    theta[4::3] += best[1] * np.log(d).mean()
    return theta


def _design(n: Floats, d: Floats, alpha: Floats, beta: Floats) -> Floats:
    """(exponents, runs, 3); sizes relative to their geometric means, so that columns are near 1."""
    x, y = np.log(n) - np.log(n).mean(), np.log(d) - np.log(d).mean()
    found: Floats = np.stack(
        [np.ones((alpha.size, n.size)), np.exp(-alpha[:, None] * x), np.exp(-beta[:, None] * y)], axis=2
    )
    return found


def _least(design: Floats, loss: Floats) -> tuple[Floats, Floats]:
    """(coefficients (exponents, 3), squared errors): non-negative least squares by trying all sets of columns."""
    design = design / loss[None, :, None]
    gram = np.einsum("gni,gnj->gij", design, design)
    right = design.sum(axis=1)
    best = np.zeros((len(design), 3))
    error = np.full(len(design), float(loss.size))
    for active in _SETS:
        size = len(active)
        part = gram[:, active][:, :, active] + 1e-12 * np.eye(size)
        found = np.linalg.solve(part, right[:, active][:, :, None])[:, :, 0]
        full = np.zeros_like(best)
        full[:, active] = found
        left = 1 - np.einsum("gni,gi->gn", design, full)
        squared = np.einsum("gn,gn->g", left, left)
        better = (found >= 0).all(axis=1) & (squared < error)
        best[better], error[better] = full[better], squared[better]
    return best, error


def _predict(theta: Floats, n: Floats, d: Floats) -> Floats:
    """(arms, runs) losses of one (2 + 3 arms,) vector, or (draws, arms, runs) of many."""
    alpha, beta = theta[..., 0, None, None], theta[..., 1, None, None]
    parts = theta[..., 2:].reshape(*theta.shape[:-1], -1, 3)[..., None]
    e, a, b = parts[..., 0, :], parts[..., 1, :], parts[..., 2, :]
    found: Floats = np.exp(e) + np.exp(a - alpha * np.log(n)) + np.exp(b - beta * np.log(d))
    return found


def _polish(n: Floats, d: Floats, losses: Floats, theta: Floats) -> Floats:
    """Minimises the summed Huber loss of log residuals, for (draws, arms, runs) at once: Levenberg and Marquardt on
    re-weighted squares, each draw with its own damping."""
    damping = np.full(len(theta), 1e-3)
    current, weight = _huber(losses - np.log(_predict(theta, n, d)))
    size = theta.shape[1]
    for _ in range(_STEPS):
        jacobian = _jacobian(theta, n, d)
        left = (losses - np.log(_predict(theta, n, d))).reshape(len(theta), -1)
        scaled = jacobian * weight.reshape(len(theta), -1, 1)
        gram = np.einsum("bri,brj->bij", scaled, jacobian)
        right = np.einsum("bri,br->bi", scaled, left)
        ridge = damping[:, None] * (np.einsum("bii->bi", gram) + 1e-9)
        step = np.linalg.solve(gram + ridge[:, :, None] * np.eye(size), right[:, :, None])[:, :, 0]
        tried = theta + np.clip(step, -1.0, 1.0)
        tried[:, :2] = np.clip(tried[:, :2], 1e-3, 3.0)
        tried[:, 2:] = np.clip(tried[:, 2:], -40.0, 80.0)
        loss, weights = _huber(losses - np.log(_predict(tried, n, d)))
        better = loss <= current
        done = np.all(np.abs(tried - theta) < 1e-10) or (np.abs(current - loss) < 1e-15 * current).all()
        theta = np.where(better[:, None], tried, theta)
        current = np.where(better, loss, current)
        weight = np.where(better[:, None, None], weights, weight)
        damping = np.clip(np.where(better, damping / 3, damping * 4), 1e-12, 1e12)
        if done:
            break
    return theta


def _huber(left: Floats) -> tuple[Floats, Floats]:
    """(summed loss per draw, weights of the squares)."""
    size = np.abs(left)
    loss = np.where(size <= HUBER, 0.5 * left * left, HUBER * (size - 0.5 * HUBER))
    return loss.sum(axis=(1, 2)), HUBER / np.maximum(size, HUBER)


def _jacobian(theta: Floats, n: Floats, d: Floats) -> Floats:
    """(draws, arms * runs, 2 + 3 arms): derivatives of ln(predicted)."""
    draws, arms, runs = len(theta), (theta.shape[1] - 2) // 3, n.size
    alpha, beta = theta[:, 0, None, None], theta[:, 1, None, None]
    parts = theta[:, 2:].reshape(draws, arms, 3, 1)
    e = np.exp(parts[:, :, 0]) * np.ones(runs)
    a = np.exp(parts[:, :, 1] - alpha * np.log(n))
    b = np.exp(parts[:, :, 2] - beta * np.log(d))
    total = e + a + b
    found = np.zeros((draws, arms, runs, theta.shape[1]))
    found[..., 0] = -a / total * np.log(n)
    found[..., 1] = -b / total * np.log(d)
    for arm in range(arms):
        for place, term in enumerate((e, a, b)):
            found[:, arm, :, 2 + 3 * arm + place] = term[:, arm] / total[:, arm]
    return found.reshape(draws, arms * runs, theta.shape[1])


def _holdout(points: dict[str, Points]) -> Floats:
    first = next(iter(points.values()))
    top = first.compute >= first.compute.max() * (1 - 1e-9)
    rest = ~top
    kept = len({(n, d) for n, d in zip(first.parameters[rest], first.tokens[rest], strict=True)})
    if kept < FEWEST - 1:
        return np.full(len(points), np.nan)
    laws = _fit(
        [Points(p.parameters[rest], p.tokens[rest], p.loss[rest]) for p in points.values()],
        shared=True,
        draws=1,
        seed=0,
    )
    return np.array(
        [
            float(np.log(p.loss[top]).mean() - np.log(one.loss(p.parameters[top][0], p.tokens[top][0])))
            for p, one in zip(points.values(), laws, strict=True)
        ]
    )


def _crossover(laws: tuple[Law, ...], predicted: Floats, first: Points, goal: tuple[float, float]) -> float | None:
    """Where the two best arms change places on the way from the smallest run to the target."""
    if len(laws) < 2:
        return None
    one, two = (laws[at] for at in np.argsort(predicted, kind="stable")[:2])
    smallest = int(np.argmin(first.compute))
    way = np.linspace(0, 1, 400)
    n = np.exp(np.log(first.parameters[smallest]) * (1 - way) + np.log(goal[0]) * way)
    d = np.exp(np.log(first.tokens[smallest]) * (1 - way) + np.log(goal[1]) * way)
    ahead = law(one.coefficients, n, d) - law(two.coefficients, n, d)
    change = np.flatnonzero(np.sign(ahead[:-1]) * np.sign(ahead[1:]) < 0)
    return float(6 * n[change[-1]] * d[change[-1]]) if change.size else None
