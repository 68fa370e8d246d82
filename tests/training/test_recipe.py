"""Recipes: strict, named errors, and shown in full."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgexp.environments.registry import make
from edgexp.errors import EdgexpError, UsageError
from edgexp.training import recipe
from edgexp.training.recipe import Recipe, parse, show


def test_the_papers_settings_are_the_defaults() -> None:
    r = Recipe()
    assert (r.lora.r, r.lora.alpha, r.lora.dropout) == (8, 16, 0.1)
    assert r.lora.targets == ("q_proj", "k_proj", "v_proj", "o_proj")
    assert (r.train.optimizer, r.train.lr, r.train.schedule, r.train.weight_decay) == ("paged_adamw_8bit", 5e-5, "constant", 0)
    assert r.memory.k == 2 and r.data[0].groups == ("easy",)


@pytest.mark.parametrize("name", sorted(recipe.files()))
def test_every_recipe_that_comes_with_edgexp_reads_and_shows(name: str) -> None:
    found, made = recipe.load(name)
    assert found == name and made.description
    assert parse(show(made), "shown") == made


def test_the_recipes_are_all_there() -> None:
    assert {"lora", "exprag-lora", "exprag-lora-robust", "exprag-lora-meta", "smoke"} <= recipe.files().keys()
    assert recipe.load("lora")[1].memory.k == 0
    assert recipe.load("exprag-lora")[1].memory.mix == recipe.Mix()
    assert recipe.load("exprag-lora-robust")[1].memory.mix.absent > 0
    assert recipe.load("smoke")[1].base.four_bit
    assert {data.environment for data in recipe.load("exprag-lora-meta")[1].data} == {"treatments", "worlds", "household"}


@pytest.mark.parametrize("name", sorted(recipe.files()))
def test_a_recipe_that_plays_says_how_its_bank_gets_what_is_remembered(name: str) -> None:
    """Wherever the dev split has a bank of its own; and checkpoints are no more than epochs."""
    asked, lines = recipe.load(name)[1], recipe.files()[name].read_text().splitlines()
    wanted = {(data.environment, data.split) for data in asked.data}
    if asked.check.select == "rollouts":
        wanted |= {(environment, "dev-bank") for environment, _ in wanted if "dev-bank" in make(environment).splits()}
        assert asked.check.checkpoint_every == asked.check.evaluate_every  # the best evaluation is kept, too
        assert asked.check.checkpoint_every * asked.train.trajectories > 5_000
    told = [line.split("edgexp collect", 1)[1].split() for line in lines if line.startswith("#     edgexp collect")]
    given = {(words[0] if not words[0].startswith("-") else "household", _after(words, "--split", "train")) for words in told}
    assert not given or given >= wanted
    assert given or asked.check.select != "rollouts"


def _after(words: list[str], option: str, default: str) -> str:
    return words[words.index(option) + 1] if option in words else default


@pytest.mark.parametrize(("text", "said"), [
    ("foo = 1", "foo: there is no such setting"),
    ("[lora]\nrank = 8", "lora.rank: there is no such setting"),
    ("[[data]]\nenv = 'x'", r"data\[0\].env: there is no such setting"),
    ("[lora]\nr = 0", "lora.r: expected `int` >= 1"),
    ("[lora]\nr = 8.5", "lora.r: expected `int`"),
    ("[lora]\ntargets = ['embed']", r"lora.targets\[0\]: invalid enum value 'embed'"),
    ("[lora]\ntargets = []", "lora.targets: expected `array` of length >= 1"),
    ("[lora]\ntargets = ['q_proj', 'q_proj']", "lora.targets: a projection is named twice"),
    ("[train]\nlr = '1e-4'", "train.lr: expected `float`, got `str`"),
    ("[train]\nlr = 0", "train.lr: expected `float` > 0"),
    ("[train]\nlr = nan", "train.lr: expected `float`"),
    ("[train]\nepochs = inf", "train.epochs"),
    ("[train]\nschedule = 'cosin'", "train.schedule: invalid enum value 'cosin'"),
    ("[train]\nsteps = 5\nwarmup = 5", "train.warmup: 5 steps of warm-up leave nothing of 5 steps"),
    ("[memory.mix]\nmatched = 0.5", "memory.mix: the four shares must add up to 1, they add up to 0.5"),
    ("[memory]\nmode = 'dynamic'", "memory.mode: there is no such setting"),
    ("[memory]\nk = 0\n[memory.mix]\nmatched = 0\nmismatched = 1", r"data\[0\].mix: mismatched memory needs memory.k above 0"),
    ("[check]\nselect = 'loss'", "check.evaluate_every: choosing by validation loss needs evaluations"),
    ("[check]\nselect = 'loss'\nheld_out = 0\nevaluate_every = 1", "check.held_out"),
    ("[[data]]\nuse = 'held_out'", "data: no source is there to train on"),
    ("data = []", "data: expected `array` of length >= 1"),
    ("[data]\nbank = 'x'", "data: expected `array`, got `object`"),
    ("[lora\nr = 1", "not TOML"),
])
def test_what_is_wrong_is_named_with_file_and_key(text: str, said: str) -> None:
    with pytest.raises(EdgexpError, match=rf"^mine\.toml: {said}"):
        parse(text, "mine.toml")


def test_changes_are_made_before_checking() -> None:
    made = parse("[[data]]\nbank = 'a'\n[[data]]\nbank = 'b'", "x", ["train.lr=1e-4", "data.bank=/some/bank", "memory.mix.absent=0.0",
                                                                     "check.select=last", "seed=5"])
    assert made.train.lr == 1e-4 and [d.bank for d in made.data] == ["/some/bank"] * 2 and made.seed == 5
    assert parse("", "x", ["data.limit=3"]).data[0].limit == 3
    with pytest.raises(EdgexpError, match=r"x: train\.speed: there is no such setting"):
        parse("", "x", ["train.speed=9"])
    for wrong in ("train.lr", "=3", "train.=3"):
        with pytest.raises(UsageError, match=r"section\.key=value"):
            parse("", "x", [wrong])


def test_unknown_and_unreadable_recipes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no recipe is called 'nope'.*there are: .*lora"):
        recipe.load("nope")
    (tmp_path / "mine.toml").write_text("seed = 3")
    assert recipe.load(str(tmp_path / "mine.toml")) == ("mine", Recipe(seed=3))
    (tmp_path / "bytes.toml").write_bytes(b"seed = 3 # \xe9t\xe9")
    with pytest.raises(EdgexpError, match=r"bytes\.toml: is not text in UTF-8 or UTF-16"):
        recipe.load(str(tmp_path / "bytes.toml"))


@given(st.text(max_size=40), st.floats(1e-7, 1), st.lists(st.text(max_size=8), max_size=3), st.integers(0, 10**9))
def test_what_is_shown_reads_back(text: str, rate: float, types: list[str], seed: int) -> None:
    data = recipe.Data(bank=text, types=tuple(types), mix=recipe.Mix(0.25, 0.25, 0.25, 0.25))
    made = Recipe(description=text, seed=seed, train=recipe.Train(lr=rate), memory=recipe.Memory(diversity=0.5), data=(data, recipe.Data()))
    assert parse(show(made), "shown") == made


def test_memory_that_changes_in_the_middle_cannot_be_trained() -> None:
    with pytest.raises(EdgexpError, match=r'memory\.memory: "dynamic" recalls again'):
        parse("", "x", ['memory.memory="dynamic"'])
    assert not parse("", "x", ['memory.memory="off"', "memory.mix.matched=0.0", "memory.mix.absent=1.0"]).memory.remembers
