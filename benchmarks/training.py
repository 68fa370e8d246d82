"""Training speed on a processor: `edgexp train`'s loop against a plain TRL SFTTrainer on the same samples, adapter and batches.

All see the same token ids and labels, one sample at a time (so that nobody pads), as many of them a step, the same LoRA on the same
weights in the same type, without gradient checkpointing. Each runs in processes of its own, in turns; what counts is the best turn's
tokens over the time of its steps, the first step left out. CPU time is given as well, since a busy machine changes it less.

TRL 1.15 itself cannot train on a processor: its loss is a Triton kernel. `trl` is its trainer with the loss of transformers' Trainer,
`unsloth` is its trainer as Unsloth repairs it, with a loss in chunks over the labels alone.

With `--memory` above 0 edgexp also trains on the same samples with their memory apart: `--memory 2 --rival none` compares the two layouts.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from edgexp.prompt.messages import Layout

SIDES = {
    "trl": "TRL's SFTTrainer",
    "unsloth": "the same by Unsloth",
    "edgexp": "edgexp",
    "apart": "edgexp, memory apart",
}
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@click.command(help=__doc__)
@click.option("--steps", default=3, show_default=True, help="Optimiser steps a turn, the first not counted.")
@click.option("--trajectories", default=4, show_default=True, help="Samples a step.")
@click.option("--turns", default=2, show_default=True, help="Turns of each.")
@click.option("--memory", default=0, show_default=True, help="Trajectories in every prompt.")
@click.option("--dtype", type=click.Choice(["bf16", "f32"]), default="bf16", show_default=True)
@click.option("--rival", "rivals", type=click.Choice(["trl", "unsloth", "none"]), multiple=True,
              default=["trl", "unsloth"], show_default=True)
@click.option("--side", hidden=True)
@click.option("--folder", hidden=True, type=click.Path(path_type=Path))
def main(steps: int, trajectories: int, turns: int, memory: int, dtype: str, rivals: tuple[str, ...], side: str | None,
         folder: Path | None) -> None:
    if side and folder:
        run_side(side, folder, steps, trajectories, dtype)
        return
    console = Console()
    with tempfile.TemporaryDirectory() as place:
        sides = [*(rival for rival in rivals if rival != "none"), "edgexp", *(["apart"] if memory else [])]
        tokens, labels = prepare(Path(place), steps * trajectories, memory, "chained")
        if memory:
            prepare(Path(place) / "apart", steps * trajectories, memory, "apart")
        console.print(f"{steps * trajectories} samples, {tokens:,} tokens, {labels:,} labels; {steps} steps of {trajectories}; {dtype}")
        best: dict[str, dict[str, float]] = {}
        for turn in range(turns):
            for name in sides:
                found = measure(name, Path(place), sys.argv[1:])
                console.print(f"turn {turn + 1}, {SIDES[name]}: {found['wall']:.0f} tokens/s, {found['cpu']:.0f} a CPU second", style="dim")
                before = best.setdefault(name, found)
                best[name] = {key: max(before[key], found[key]) for key in found}
    table = Table("", "tokens/s", "ratio", "tokens a CPU second", "ratio", "GB", box=None)
    first = best[sides[0]]
    for name in sides:
        row = best[name]
        table.add_row(SIDES[name], f"{row['wall']:.0f}", f"{row['wall'] / first['wall']:.2f}x", f"{row['cpu']:.0f}",
                      f"{row['cpu'] / first['cpu']:.2f}x", f"{row['memory']:.1f}")
    console.print(table)
    if memory:
        wall, cpu = (best["apart"][key] / best["edgexp"][key] for key in ("wall", "cpu"))
        console.print(f"memory apart against chained, the same samples: {wall:.2f}x the tokens/s, {cpu:.2f}x the tokens a CPU second")


def prepare(folder: Path, count: int, memory: int, layout: "Layout") -> tuple[int, int]:
    """Samples from the household's expert, and the weights expanded; how many tokens and labels."""
    from edgexp.engine.tokenizer import GGUFTokenizer
    from edgexp.environments.registry import make
    from edgexp.home import home
    from edgexp.play.collecting import expert_episode, spread
    from edgexp.play.rollout import run
    from edgexp.prompt.render import Renderer
    from edgexp.prompt.template import learn
    from edgexp.training import prepared, recipe, train
    from edgexp.training.launch import Job, Run

    environment = make("household")
    easy = spread(environment.tasks("train"), count + memory, keep=lambda task: task.group == "easy")
    played = [run(expert_episode(environment, task)).trajectory for task in easy]
    asked = recipe.parse("", "benchmark", [f"lora.targets={TARGETS}", "lora.r=16", "lora.alpha=32", "lora.dropout=0.0"])
    base = train.find_base(asked)
    tokenizer = GGUFTokenizer(Path(base.gguf))
    renderer = Renderer(tokenizer, learn(tokenizer.template() or "chatml", tokenizer), environment.instructions(), layout)
    samples = prepared.Samples()
    for number in range(count):
        rendered = renderer.trajectory(played[number], played[number + 1 : number + 1 + memory])
        samples.add(rendered.ids, rendered.labels, rendered.blocks)
    made = Run(folder)
    made.data.mkdir(parents=True)
    prepared.write(made.data, {"train": samples}, vocabulary=len(tokenizer), layout=layout)
    made.write_job(Job("benchmark", asked, base, str(home() / "cache" / "bases")))
    environment.close()
    return sum(samples.lengths), sum(len(samples.labels(i)) for i in range(len(samples)))


def measure(side: str, folder: Path, arguments: list[str]) -> dict[str, float]:
    """One turn in a process of its own, with the settings that `edgexp train` gives its process."""
    from edgexp.training.launch import ENVIRONMENT, OFFLINE

    command = [sys.executable, __file__, *arguments, "--side", side, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env={**ENVIRONMENT, **os.environ, **OFFLINE}, check=False, cwd=folder)
    if done.returncode != 0:
        raise click.ClickException(f"{SIDES[side]} failed:\n{done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def run_side(side: str, folder: Path, steps: int, trajectories: int, dtype: str) -> None:
    """Train with one of them and print its rates as JSON."""
    clock = Clock()
    folder = folder / "apart" if side == "apart" else folder
    (run_edgexp if side in ("edgexp", "apart") else run_trl)(folder, steps, trajectories, dtype, clock, side)
    from edgexp.training import prepared

    lengths = prepared.read_set(folder / "data", prepared.read(folder / "data"), "train").lengths
    tokens = sum(lengths[trajectories : steps * trajectories])
    wall, cpu = clock.since_first_step()
    print(json.dumps({"wall": tokens / wall, "cpu": tokens / cpu, "memory": peak()}))


class Clock:
    """Wall and CPU time at the end of every step."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, float]] = []

    def mark(self) -> None:
        """A step has ended."""
        self.marks.append((time.perf_counter(), time.process_time()))

    def since_first_step(self) -> tuple[float, float]:
        """Seconds from the end of the first step to that of the last."""
        first, last = self.marks[0], self.marks[-1]
        return last[0] - first[0], last[1] - first[1]


def peak() -> float:
    """GB that this process held at most; 0 where the system does not say."""
    try:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    except ImportError:
        return 0.0


def run_edgexp(folder: Path, steps: int, trajectories: int, dtype: str, clock: Clock, _: str) -> None:
    """Our loop, by the recipe, over the samples in their order."""
    import msgspec

    from edgexp.training import backend, events, prepared
    from edgexp.training.launch import Run
    from edgexp.training.loop import Loop
    from edgexp.training.prepared import Plan

    job = Run(folder).job()
    assert job
    asked = msgspec.structs.replace(
        job.recipe, base=msgspec.structs.replace(job.recipe.base, dtype=dtype),
        train=msgspec.structs.replace(job.recipe.train, optimizer="adamw", lr=1e-4, steps=steps, trajectories=trajectories),
        check=msgspec.structs.replace(job.recipe.check, checkpoint_every=1_000_000),
    )  # fmt: skip
    backend.has_unsloth()
    place = backend.folder_of(Path(job.base.gguf), job.base.sha256, "", Path(job.cache), lambda _: None)
    samples = prepared.read_set(folder / "data", prepared.read(folder / "data"), "train")

    def on(event: events.Event) -> None:
        if isinstance(event, events.Stepped):
            clock.mark()

    loop = Loop(backend.load(place, asked, lambda _: None), asked, "", samples, {}, Path(tempfile.mkdtemp(dir=folder)), on)
    order = tuple(tuple((i,) for i in range(step * trajectories, (step + 1) * trajectories)) for step in range(steps))
    loop._plan = lambda: Plan(order, (steps,))  # type: ignore[method-assign]
    loop.run()


def run_trl(folder: Path, steps: int, trajectories: int, dtype: str, clock: Clock, side: str) -> None:
    """TRL's trainer as its documentation has it: the same samples, already tokenised, with their labels."""
    if side == "unsloth":
        import unsloth
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from edgexp.training import backend, prepared
    from edgexp.training.launch import Run

    job = Run(folder).job()
    assert job
    place = backend.folder_of(Path(job.base.gguf), job.base.sha256, "", Path(job.cache), lambda _: None)
    kind = {"bf16": torch.bfloat16, "f32": torch.float32}[dtype]
    lora: dict[str, Any] = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0, "target_modules": TARGETS}
    if side == "unsloth":
        model, tokenizer = unsloth.FastLanguageModel.from_pretrained(str(place), dtype=kind, load_in_4bit=False,
                                                                     use_gradient_checkpointing=False)
        model, config = unsloth.FastLanguageModel.get_peft_model(model, use_gradient_checkpointing=False, **lora), None
    else:
        model, tokenizer = AutoModelForCausalLM.from_pretrained(place, dtype=kind), AutoTokenizer.from_pretrained(place)
        config = LoraConfig(task_type="CAUSAL_LM", **lora)

    class OnProcessor(SFTTrainer):  # type: ignore[misc]
        """TRL's loss runs on GPUs only; this is the one it inherits from transformers."""

        def compute_loss(self, *arguments: Any, **more: Any) -> Any:
            return super(SFTTrainer, self).compute_loss(*arguments, **more)

    class Marks(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.mark()

    settings = SFTConfig(
        output_dir=tempfile.mkdtemp(dir=folder), max_steps=steps, per_device_train_batch_size=1, gradient_accumulation_steps=trajectories,
        learning_rate=1e-4, lr_scheduler_type="constant", bf16=dtype == "bf16", gradient_checkpointing=False, max_length=None,
        use_cpu=True, save_strategy="no", report_to=[], disable_tqdm=True, logging_steps=1, shuffle_dataset=False,
    )  # fmt: skip
    trainer = SFTTrainer if side == "unsloth" else OnProcessor
    trainer(model=model, args=settings, train_dataset=Dataset.from_list(list(rows(folder, prepared))), processing_class=tokenizer,
            peft_config=config, callbacks=[Marks()]).train()


def rows(folder: Path, prepared: Any) -> Iterator[dict[str, list[int]]]:
    """The samples as TRL takes them."""
    samples = prepared.read_set(folder / "data", prepared.read(folder / "data"), "train")
    for number, ids in enumerate(samples.ids):
        mask = [0] * len(ids)
        for position in samples.labels(number):
            mask[position] = 1
        yield {"input_ids": ids.tolist(), "assistant_masks": mask}


if __name__ == "__main__":
    main()
