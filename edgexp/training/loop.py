"""The training loop: steps, evaluations, checkpoints, and going on from the last one as if nothing had happened. Also what a model says on
held-out samples: scores by memory condition, and the answers that an export is compared with. Knows no files but checkpoints, and not who
loaded the model."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edgexp.errors import EdgexpError
from edgexp.training import checkpoint
from edgexp.training.backend import Learner
from edgexp.training.cpu.kernels import LabelLoss, answers
from edgexp.training.events import Emit, Evaluated, Finished, Notice, Saved, Scores, Started, Stepped
from edgexp.training.prepared import GPU_TOKENS, Batch, OptimizerStep, Plan, Samples, plan_steps, share_of_padding
from edgexp.training.recipe import Recipe, Train


@dataclass(frozen=True)
class Answers:
    """Of each sample: the positions of its label tokens, the log-probability of each and the token the model would have said."""

    positions: list[NDArray[np.int64]]
    logprobs: list[NDArray[np.float32]]
    greedy: list[NDArray[np.int32]]


def ask(learner: Learner, samples: Samples) -> Answers:
    """The model's answers at every label of every sample, one sample at a time: padding could change the last digits."""
    def one(number: int) -> tuple[torch.Tensor, torch.Tensor]:
        ids, labels = samples.ids[number], samples.labels(number)
        with torch.no_grad():
            hidden = learner.hidden([ids], [labels - 1], blocks=[samples.blocks[number]])
            return answers(hidden, learner.head, torch.from_numpy(ids[labels].astype(np.int64)).to(learner.device))

    found = list(learner.each(one, range(len(samples))))
    return Answers(
        [samples.labels(number) for number in range(len(samples))],
        [logprobs.cpu().numpy() for logprobs, _ in found],
        [greedy.cpu().numpy().astype(np.int32) for _, greedy in found],
    )


def scores(samples: Samples, said: Answers) -> Scores:
    """Loss, and how many tokens and whole actions the model would have said itself."""
    right = [greedy == ids[labels] for ids, labels, greedy in zip(samples.ids, said.positions, said.greedy, strict=True)]
    actions = []
    for spans, hits in zip(samples.spans, right, strict=True):
        ends = np.cumsum(spans[:, 1] - spans[:, 0])
        actions += [bool(part.all()) for part in np.split(hits, ends[:-1])]
    return Scores(
        loss=round(float(-np.concatenate(said.logprobs).mean()), 5),
        tokens=round(float(np.concatenate(right).mean()), 5),
        actions=round(float(np.mean(actions)), 5),
    )


def evaluate(learner: Learner, sets: Mapping[str, Samples]) -> dict[str, Scores]:
    """Scores under each memory condition."""
    return {name: scores(samples, ask(learner, samples)) for name, samples in sets.items() if len(samples)}




@dataclass
class Loop:
    """A training: what learns, from what, and where checkpoints go. `stop` is asked between steps."""

    learner: Learner
    recipe: Recipe
    base: str
    """What the adapter says it was trained on."""
    data: Samples
    held_out: dict[str, Samples]
    """By memory condition; the first is what the validation loss is about."""
    checkpoints: Path
    emit: Emit
    stop: Callable[[], bool] = lambda: False
    _best: tuple[float, int] = (math.inf, -1)
    """The lowest validation loss so far, and its step."""
    _latest: tuple[int, dict[str, Scores]] = (-1, {})
    """The latest evaluation."""

    def run(self) -> None:
        """Train to the end of the plan, or until asked to stop; the last step done always has a checkpoint."""
        todo = self._plan()
        optimizer, notices = make_optimizer(self.recipe.train, self.learner)
        done = self._resume(optimizer, notices, len(todo.steps))
        self._announce(todo, done)
        saved = done
        while done < len(todo.steps) and not self.stop():
            self.emit(self._step(optimizer, todo, done))
            done += 1
            last = done == len(todo.steps)
            if last or (self.recipe.check.evaluate_every and done % self.recipe.check.evaluate_every == 0):
                self._evaluate(done)
            if last or done % self.recipe.check.checkpoint_every == 0 or self._best[1] == done:
                saved = self._save(optimizer, done)
        if saved < done:
            self._save(optimizer, done)
        self.emit(Finished(done, stopped=done < len(todo.steps)))

    def _plan(self) -> Plan:
        train = self.recipe.train
        at_once = train.tokens_at_once or (1 if self.learner.device.type == "cpu" else GPU_TOKENS)
        return plan_steps(self.data.lengths, trajectories=train.trajectories, at_once=at_once, epochs=train.epochs, steps=train.steps,
                          seed=self.recipe.seed)

    def _resume(self, optimizer: torch.optim.Optimizer, notices: list[str], steps: int) -> int:
        """Steps done by an earlier run, its state restored."""
        found, wrong = checkpoint.latest(self.checkpoints)
        for text in notices + [f"{line}; going back to the checkpoint before" for line in wrong]:
            self.emit(Notice(text))
        for step, before in checkpoint.scores(self.checkpoints).items():
            self._note(step, before)
        if found is None:
            return 0
        if found.record.step > steps:
            raise EdgexpError(f"{found.folder} is beyond the {steps} steps of this recipe; choose another folder with --out")
        self.learner.load_adapter(checkpoint.restore(found, optimizer))
        return found.record.step

    def _announce(self, todo: Plan, done: int) -> None:
        learner, lengths = self.learner, self.data.lengths
        self.emit(Started(
            steps=len(todo.steps), tokens=_tokens(todo.steps, lengths), done=done, done_tokens=_tokens(todo.steps[:done], lengths),
            backend=learner.backend, device=str(learner.device), precision="nf4" if learner.four_bit else learner.precision,
            trainable=sum(p.numel() for p in learner.parameters),
            padding=round(share_of_padding(todo.steps, lengths), 4) if learner.pads else 0.0,
        ))  # fmt: skip

    def _step(self, optimizer: torch.optim.Optimizer, todo: Plan, done: int) -> Stepped:
        started = time.perf_counter()
        train, step = self.recipe.train, todo.steps[done]
        rate = learning_rate(train, done, len(todo.steps))
        for group in optimizer.param_groups:
            group["lr"] = rate
        # All chance in a step comes from this number, so that a resumed run draws what an unbroken one would have drawn.
        loss, hits, labels = self._gradients(step, (self.recipe.seed << 24) + done)
        norm = float(torch.nn.utils.clip_grad_norm_(self.learner.parameters, train.clip or math.inf))
        self._check(done + 1, loss, norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds = time.perf_counter() - started
        return Stepped(done + 1, round(todo.epoch(done + 1), 4), loss, round(hits / labels, 5), rate, norm,
                       _tokens([step], self.data.lengths), round(seconds, 4))

    def _gradients(self, step: OptimizerStep, seed: int) -> tuple[float, int, int]:
        """Gradients of the mean loss over the step's label tokens; that loss, greedy hits, label tokens."""
        total = sum(len(self.data.labels(i)) for batch in step for i in batch)
        loss, hits = 0.0, 0
        numbered = list(enumerate(step, (seed << 12) % (1 << 42)))
        for part, right, gradients in self.learner.each(lambda one: self._part(one[1], one[0], total), numbered):
            loss, hits = loss + part, hits + right
            for parameter, gradient in zip(self.learner.parameters, gradients or (), strict=False):
                parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
        return loss, hits, total

    def _part(self, batch: Batch, seed: int, total: int) -> tuple[float, int, list[torch.Tensor] | None]:
        """What a batch adds to a step's loss, hits and gradients."""
        learner, labels = self.learner, [self.data.labels(i) for i in batch]
        hidden = learner.hidden([self.data.ids[i] for i in batch], [positions - 1 for positions in labels], seed,
                                [self.data.blocks[i] for i in batch])
        targets = np.concatenate([self.data.ids[i][positions] for i, positions in zip(batch, labels, strict=True)]).astype(np.int64)
        loss, right = LabelLoss.apply(hidden, learner.head, torch.from_numpy(targets).to(learner.device), 1 / total)
        gradients = learner.differentiate(loss)
        return float(loss.detach()), int(right), gradients

    def _check(self, step: int, loss: float, norm: float) -> None:
        if not (math.isfinite(loss) and math.isfinite(norm)):
            kept = checkpoint.steps(self.checkpoints)
            before = f"; the checkpoint of step {kept[-1]} is sound" if kept else ""
            raise EdgexpError(f"the loss is no number at step {step} (loss {loss}, gradient {norm}): lower train.lr (now "
                              f"{self.recipe.train.lr:g}) or add train.warmup, and train in another folder with --out{before}")

    def _evaluate(self, step: int) -> None:
        if not self.held_out:
            return
        started = time.perf_counter()
        found = evaluate(self.learner, self.held_out)
        self._note(step, found)
        self.emit(Evaluated(step, found, round(time.perf_counter() - started, 3)))

    def _note(self, step: int, scores: dict[str, Scores]) -> None:
        """Keep the latest scores, and which step had the lowest validation loss."""
        self._latest = (step, scores)
        self._best = min(self._best, (next(iter(scores.values())).loss, step))

    def _save(self, optimizer: torch.optim.Optimizer, step: int) -> int:
        learner, check = self.learner, self.recipe.check
        scores = self._latest[1] if self._latest[0] == step else {}
        made = checkpoint.save(self.checkpoints, step, learner.adapter(), learner.config(self.base), optimizer, scores)
        checkpoint.prune(self.checkpoints, 0 if check.select == "rollouts" else check.keep, {self._best[1]})
        self.emit(Saved(step, str(made.folder)))
        return step


def learning_rate(train: Train, done: int, steps: int) -> float:
    """The rate of the step after `done` of `steps`."""
    if done < train.warmup:
        return train.lr * (done + 1) / train.warmup
    share = (done - train.warmup) / max(1, steps - train.warmup)
    fall = {"constant": 0.0, "linear": share, "cosine": (1 - math.cos(math.pi * share)) / 2}[train.schedule]
    return train.lr * (1 - (1 - train.final_lr) * fall)


def make_optimizer(train: Train, learner: Learner) -> tuple[torch.optim.Optimizer, list[str]]:
    """The recipe's optimiser and what there is to say about it."""
    settings = {"lr": train.lr, "weight_decay": train.weight_decay}
    if train.optimizer == "adamw" or learner.device.type == "cpu":
        notices = [] if train.optimizer == "adamw" else ["paged 8-bit AdamW needs a GPU; plain AdamW takes its place"]
        return torch.optim.AdamW(learner.parameters, fused=True, **settings), notices
    from bitsandbytes.optim import PagedAdamW8bit

    made: torch.optim.Optimizer = PagedAdamW8bit(learner.parameters, **settings)
    return made, []


def _tokens(steps: Sequence[OptimizerStep], lengths: Sequence[int]) -> int:
    return sum(lengths[i] for step in steps for batch in step for i in batch)
