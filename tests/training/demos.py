"""What the training tests share: demonstrations of a scripted expert, and runs on a prepared dataset made of them."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from edgexp.engine.tokenizer import GGUFTokenizer
from edgexp.environments.registry import make
from edgexp.home import home
from edgexp.play.collecting import spread
from edgexp.play.episode import play
from edgexp.play.rollout import run as roll
from edgexp.play.scripted import ExpertPolicy
from edgexp.prompt.render import Renderer
from edgexp.prompt.template import learn
from edgexp.training import prepared, recipe, train
from edgexp.training.launch import Job, Run
from edgexp.trajectory import Trajectory


@cache
def demonstrations(count: int) -> tuple[Trajectory, ...]:
    """Episodes that the household's expert won."""
    environment = make("household")
    tasks = spread(environment.tasks("train"), count, keep=lambda task: task.group == "easy")
    played = tuple(roll(play(environment, task, ExpertPolicy(environment))).trajectory for task in tasks)
    environment.close()
    return tuple(t for t in played if t.success)


def samples(renderer: Renderer, trajectories: Sequence[Trajectory]) -> prepared.Samples:
    """Samples without memory."""
    out = prepared.Samples()
    for trajectory in trajectories:
        rendered = renderer.trajectory(trajectory)
        out.add(rendered.ids, rendered.labels)
    return out


def a_run(folder: Path, settings: str, count: int = 16, held_out: int = 2) -> Run:
    """A run of a recipe (TOML text) on demonstrations without memory; ready to train."""
    asked = recipe.parse(settings, "test")
    base = train.find_base(asked)
    tokenizer = GGUFTokenizer(Path(base.gguf))
    bos, eos = (tokenizer.decode([token]) for token in (tokenizer.bos, tokenizer.eos))
    template = learn(tokenizer.template() or "chatml", tokenizer, bos=bos, eos=eos)
    environment = make("household")
    renderer = Renderer(tokenizer, template, environment.instructions())
    environment.close()
    known = demonstrations(count + held_out)
    run = Run(folder)
    run.data.mkdir(parents=True)
    sets = {"train": samples(renderer, known[held_out:]), "valid-none": samples(renderer, known[:held_out])}
    reference = tuple(prepared.Sample(renderer.instructions, t) for t in known[:held_out])
    prepared.write(run.data, sets, vocabulary=len(tokenizer), reference=reference)
    tokenizer.close()
    run.write_job(Job("test", asked, base, str(home() / "cache" / "bases")))
    return run
