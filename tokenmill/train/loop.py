"""`train`: one training run, resumable at every checkpoint, the same for any number of runs in a process.

On a CPU a run that was stopped and resumed gives the bits of one that was not: weights, log and evaluations.
"""

from __future__ import annotations

import gc
import math
import resource
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tokenmill.core.errors import ConfigError, TokenmillError
from tokenmill.tokens.pack import Batch
from tokenmill.tokens.views import TokenView
from tokenmill.train import checkpoint as checkpoints
from tokenmill.train.checkpoint import Checkpoint
from tokenmill.train.data import check_sizes, make_loader
from tokenmill.train.devices import device_name, peak_flops, utilisation
from tokenmill.train.lock import locked
from tokenmill.train.model import Decoder
from tokenmill.train.monitor import History, Lines, Meter, Tracker
from tokenmill.train.optimizers import build_optimizers
from tokenmill.train.parallel import World, by_first, gather_whole, initialise, join, reshard, shard
from tokenmill.train.results import (
    EVALS_JSONL,
    LOG_JSONL,
    RESULT_JSON,
    RUN_JSON,
    Progress,
    StepLog,
    TrainResult,
    rows_until,
    with_nan,
    write_json,
)
from tokenmill.train.settings import TrainSettings
from tokenmill.train.start import Start, check_start, load_model, load_weights, stand
from tokenmill.train.steps import Step, Stepper, autocast, eager, logit_max, steps_of
from tokenmill.train.values import fitting

__all__ = ["Progress", "Start", "StepLog", "TrainResult", "load_weights", "train"]

MOST_IN_A_ROW = 10
"""Steps without a finite loss and gradient, one behind the other, after which a run is given up."""
_SUMS = ("loss", "norm", "z", "balance")

Evaluate = Callable[[Decoder, Progress], Mapping[str, float]]


def train(
    model: Decoder,
    settings: TrainSettings,
    view: TokenView,
    folder: Path,
    *,
    seed: int,
    evaluate: Evaluate | None = None,
    eval_steps: Collection[int] = (),
    start: Start | None = None,
    stop_after: int | None = None,
    observe: Callable[[StepLog], None] | None = None,
) -> TrainResult:
    """Train a model on a view; its parameters are made anew from `seed`, and hold the last step's afterwards.

    So runs of one shape can share a model object, and with it what was compiled. folder: gets run.json, log.jsonl,
    evals.jsonl, checkpoints/, and result.json at the end. Called again, a run goes on from its newest whole checkpoint;
    one with a result returns it and leaves the model alone (`load_weights` has its weights). A checkpoint that
    `keep_steps` ask for and that is not there is made from the one before first. seed: of the initial weights and the
    order of sequences. evaluate: called without gradients in the precision of the settings, on all ranks;
    eval_steps: steps (made, 0 = before training) at which. stop_after: return behind this step, with a
    checkpoint. observe: is given every line of the log.

    ConfigError before any work for settings that cannot be, a view smaller than a step, or a folder of another run or
    in which another process trains. TokenmillError after ten steps in a row without a finite loss.
    """
    device = next(model.parameters()).device
    world = join(device)
    tracker = Tracker(settings.track if world.writes else None)
    check_sizes(model.config, settings, view, world)
    check_start(settings, start)
    seed = fitting("seed", seed, "int")
    wanted = sorted({int(step) for step in eval_steps if step <= settings.steps}) if evaluate else []
    about = _about(model, settings, view, seed, wanted)
    stands = partial(stand, folder, about, settings, start)
    found = by_first(stands, world)
    if found.result is not None and not found.missing:
        return found.result
    with ExitStack() as stack:
        by_first(lambda: stack.enter_context(locked(folder)) if world.writes else None, world)
        found = by_first(stands, world)  # somebody else may have ended it before the lock was ours
        shard(model, settings, world)
        stack.enter_context(steps_of(model, settings))
        make = partial(_Run, model, settings, view, folder, seed, world)
        if found.missing:
            with closing(make(Tracker(None), None, again=True)) as run:
                run.begin(start, found.identity, before=found.missing[0] - 1)
                run.make_up(found.missing)
        if found.result is not None:
            return found.result
        with closing(make(tracker, observe)) as run:
            run.begin(start, found.identity)
            return run.go(evaluate, set(wanted), stop_after)


def _about(model: Decoder, settings: TrainSettings, view: TokenView, seed: int, evals: list[int]) -> dict[str, Any]:
    """What makes a run the one that it is, but for where it begins."""
    about = {"settings": settings.deciding(), "model": model.config.to_json(), "data": view.fingerprint}
    return {**about, "seed": seed, "eval_steps": evals}


class _Run:
    """The state of a run between steps."""

    def __init__(
        self,
        model: Decoder,
        settings: TrainSettings,
        view: TokenView,
        folder: Path,
        seed: int,
        world: World,
        tracker: Tracker,
        observe: Callable[[StepLog], None] | None,
        again: bool = False,
    ) -> None:
        """again: steps are made for their checkpoints alone; log and evaluations have them."""
        torch.manual_seed(seed)
        self.model, self.settings, self.folder, self.world = model, settings, folder, world
        self.seed, self.tracker, self.observe, self.again = seed, tracker, observe, again
        self.device = next(model.parameters()).device
        self.name = device_name(str(self.device))
        self.peak = peak_flops(self.name) if settings.precision == "bf16" else None
        self.loader = make_loader(model.config, settings, view, world, seed)
        self.optimizers = build_optimizers(model, model.config, settings)
        self.history = History()
        self.stepper = Stepper(model, settings, self.optimizers, self.history, world)
        self.meter = Meter()
        writes = world.writes and not again
        self.log = Lines(folder / LOG_JSONL if writes else None)
        self.evals_file = Lines(folder / EVALS_JSONL if writes else None)
        self.step = 0
        self.origin = (0, 0)
        """(step, tokens) from which on tokens are counted: what was trained before had perhaps other batches."""
        self.evals: list[dict[str, Any]] = []
        self.waiting: list[Step] = []
        self.window: list[list[float]] = []  # values of the steps since the last line of the log
        self.skipped = self.spikes = self.in_a_row = 0
        self.lr = 0.0
        self.batch: Batch = {}
        self.seconds_before = 0.0
        self.begun = time.perf_counter()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def begin(self, start: Start | None, identity: Mapping[str, Any], before: int | None = None) -> None:
        """New weights, those of the newest checkpoint (before: up to this step), or those that another run left.

        The folder is claimed when nothing is left that could fail.
        """
        path = by_first(lambda: checkpoints.newest(self.folder, before), self.world)
        initialise(self.model, self.seed)
        if path is not None:
            saved = checkpoints.load(path)
            self._load(saved, path)
            self.loader.load_state_dict(saved.state["loader"])
            self._load_records(saved.state)
        elif start is not None:
            saved = checkpoints.load(start.checkpoint)
            self._load(saved, start.checkpoint)
            if start.data == "continue":
                self.loader.load_state_dict(saved.state["loader"])
        by_first(lambda: write_json(self.folder / RUN_JSON, identity), self.world)
        self.log.restart(rows_until(self.log.rows(), self.step) if path is not None else [])
        self.evals_file.restart(self.evals)
        self.tracker.begin(self.folder.name, self.settings)

    def _load(self, saved: Checkpoint, path: Path) -> None:
        load_model(self.model, saved, path)
        try:
            self.optimizers.load_state_dict(saved.optimizers)
        except (ValueError, KeyError, IndexError) as error:
            raise ConfigError(
                "the checkpoint has states of another optimizer",
                where=str(path),
                why=str(error),
                fix="begin with the optimizer of that run",
            ) from error
        self.history.load(saved.state["history"])
        self.step = int(saved.state["step"])
        self.origin = (self.step, int(saved.state["tokens"]))
        torch.set_rng_state(saved.random["cpu"])
        if "cuda" in saved.random and self.device.type == "cuda":
            torch.cuda.set_rng_state(saved.random["cuda"], self.device)

    def _load_records(self, state: Mapping[str, Any]) -> None:
        """What a run goes on with, and a run that begins from its checkpoint does not."""
        self.evals = with_nan(state["evals"])
        self.window = [[math.nan if value is None else value for value in row] for row in state["window"]]
        self.skipped, self.spikes, self.in_a_row = (int(state[key]) for key in ("skipped", "spikes", "in_a_row"))
        self.seconds_before = float(state["seconds"])

    @property
    def tokens(self) -> int:
        """Trained tokens so far, those before the checkpoint that was begun from included."""
        step, tokens = self.origin
        return tokens + (self.step - step) * self.settings.batch_tokens

    def make_up(self, steps: Sequence[int]) -> None:
        """Make the checkpoints of these steps, in order: they come out as if they had been kept at the time."""
        evals = with_nan(Lines(self.folder / EVALS_JSONL).rows())
        while self.step < steps[-1]:
            self._advance()
            if self.step in steps:
                self.evals = [dict(row) for row in rows_until(evals, self.step)]
                self._save()

    def go(self, evaluate: Evaluate | None, eval_steps: set[int], stop_after: int | None) -> TrainResult:
        settings = self.settings
        end = settings.steps if stop_after is None else min(stop_after, settings.steps)
        if self.step in eval_steps and evaluate is not None and not self._has_eval():
            self._evaluate(evaluate)
        self.meter.start()
        while self.step < end:
            self._advance()
            if self.step in eval_steps and evaluate is not None:
                self._evaluate(evaluate)
            every = settings.checkpoint_every
            if self.step == end or self.step in settings.keep_steps or (every and self.step % every == 0):
                self._save()
        self.meter.stop()
        result = self._result()
        if self.step == settings.steps:
            path = self.folder / RESULT_JSON
            by_first(lambda: write_json(path, result.to_json()), self.world)
        return result

    def _advance(self) -> None:
        """A step, and what is read and logged behind it."""
        self._step()
        due = self.step % self.settings.log_every == 0 or self.step == self.settings.steps
        if due or self.stepper.waits:
            self._read()
        if due:
            self._write_log()

    def _step(self) -> None:
        self.batch = next(self.loader)
        self.lr = self.optimizers.set_rate(self.step)
        self.waiting.append(self.stepper.step(self.batch))
        self.step += 1
        self.meter.step(self.settings.batch_tokens)

    def _read(self) -> None:
        """Bring the values of steps from the device, and look at them. Waits for it."""
        if not self.waiting:
            return
        rows = torch.stack([torch.stack([value.to(self.device) for value in one]) for one in self.waiting]).tolist()
        self.waiting = []
        for loss, norm, z, balance, left_out, spike in rows:
            self.history.add(loss, norm)
            if left_out:
                self.skipped += 1
                self.spikes += int(spike)
            else:
                self.window.append([loss, norm, z, balance])
            self.in_a_row = self.in_a_row + 1 if left_out and not spike else 0
            if self.in_a_row >= MOST_IN_A_ROW:
                raise self._no_finite_loss(loss, norm)

    def _no_finite_loss(self, loss: float, norm: float) -> TokenmillError:
        places = [place for row in self.loader.places() for place in row][:3]
        shown = ", ".join(f"shard {place.shard} from token {place.start} ({place.tokens})" for place in places)
        return TokenmillError(
            f"{MOST_IN_A_ROW} steps in a row had no finite loss and gradient (loss {loss}, gradient norm {norm})",
            where=f"{self.folder}, step {self.step}; its first tokens: {shown}",
            why="the model has diverged, or the tokens are not of its vocabulary",
            fix='a lower learning rate, spikes="skip", or look at these tokens with `tokenmill origin`',
        )

    def _write_log(self) -> None:
        means = [math.fsum(column) / len(self.window) for column in zip(*self.window, strict=True)]
        loss, norm, z, balance = means or [math.nan] * len(_SUMS)
        self.window = []
        rate = self.meter.rate()
        self.meter.stop()
        line = StepLog(
            step=self.step,
            tokens=self.tokens,
            epochs=self.loader.epochs_seen,
            loss=loss,
            lr=self.lr,
            grad_norm=norm,
            z=z,
            balance=balance,
            logit_max=logit_max(self.model, self.batch),
            skipped=self.skipped,
            spikes=self.spikes,
            tokens_per_second=rate,
            mfu=self._mfu(rate),
            memory=_peak_bytes(self.device),
        )
        self.log.add(line.to_json())
        self.tracker.log(line.to_json(), self.step)
        if self.observe is not None:
            self.observe(line)
        self.meter.start()

    def _mfu(self, rate: float | None) -> float | None:
        if rate is None:
            return None
        return utilisation(rate * self.model.config.flops_per_token, 1.0, self.peak, self.world.size)

    def _has_eval(self) -> bool:
        return any(row["step"] == self.step for row in self.evals)

    def _evaluate(self, evaluate: Evaluate) -> None:
        self._read()  # the device has made the steps that the meter counted
        self.meter.stop()
        self.model.eval()
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.no_grad(), eager(self.model), autocast(self.device, self.settings), torch.random.fork_rng(devices):
            values = evaluate(self.model, Progress(self.step, self.tokens, self.settings.steps))
        self.model.train()
        reshard(self.model)
        gc.collect()  # it does not run by itself meanwhile
        metrics = {name: float(value) for name, value in values.items()}
        row = {"step": self.step, "tokens": self.tokens, "metrics": metrics}
        self.evals.append(row)
        self.evals_file.add(row)
        self.tracker.log(metrics, self.step)
        self.meter.start()

    def _save(self) -> None:
        self._read()
        self.meter.stop()
        random = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.device)
        state = {
            "step": self.step,
            "tokens": self.tokens,
            "config": self.model.config.to_json(),
            "settings": self.settings.to_json(),
            "loader": self.loader.state_dict(),
            "history": self.history.to_json(),
            "window": self.window,
            "evals": self.evals,
            "skipped": self.skipped,
            "spikes": self.spikes,
            "in_a_row": self.in_a_row,
            "seconds": self._seconds(),
        }
        saved = Checkpoint(gather_whole(self.model), self.optimizers.state_dict(), state, random)
        by_first(lambda: self._write(saved), self.world)
        self.meter.start()

    def _write(self, saved: Checkpoint) -> None:
        checkpoints.save(self.folder, saved)
        if not self.again:  # else the newest ones are of steps further on, and whole
            checkpoints.discard_old(self.folder, self.settings.keep_steps, self.step)

    def _seconds(self) -> float:
        return self.seconds_before + time.perf_counter() - self.begun

    def _result(self) -> TrainResult:
        rate, tokens = self.meter.rate(), self.tokens
        return TrainResult(
            folder=str(self.folder),
            steps=self.step,
            tokens=tokens,
            final_loss=self.history.last_loss(),
            seconds=self._seconds(),
            tokens_per_second=rate,
            mfu=self._mfu(rate),
            flops=float(tokens) * self.model.config.flops_per_token,
            peak_bytes=_peak_bytes(self.device),
            epochs=self.loader.epochs_seen,
            evals=self.evals,
            skipped_steps=self.skipped,
            spikes=self.spikes,
            device=self.name,
        )

    def close(self) -> None:
        self.loader.close()
        self.tracker.finish()


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
