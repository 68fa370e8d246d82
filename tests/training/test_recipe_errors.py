"""Every key of a recipe: what is wrong with it is said in one line that names file and key, and what is just right is taken."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgexp.errors import EdgexpError
from edgexp.training import recipe
from edgexp.training.recipe import Recipe, parse, show

SECTIONS: dict[str, Any] = {
    "": Recipe, "base": recipe.Base, "memory": recipe.Memory, "memory.mix": recipe.Mix, "lora": recipe.Lora, "train": recipe.Train,
    "check": recipe.Check, "data": recipe.Data,
}  # fmt: skip
"""Every table a recipe may have. `data` is a list of tables."""


def keys() -> Iterator[tuple[str, str]]:
    """Every key with its section."""
    for section, kind in SECTIONS.items():
        for field in msgspec.structs.fields(kind):
            yield section, field.name


def written(section: str, key: str, value: str) -> str:
    """A recipe that says this alone."""
    header = "[[data]]" if section == "data" else f"[{section}]"
    return f"{key} = {value}" if not section else f"{header}\n{key} = {value}"


def place(section: str, key: str) -> str:
    """How an error names it."""
    return f"data[0].{key}" if section == "data" else f"{section}.{key}".lstrip(".")


def complaint(text: str) -> str:
    with pytest.raises(EdgexpError) as caught:
        parse(text, "mine.toml")
    said = str(caught.value)
    assert said.startswith("mine.toml: ") and "\n" not in said and "`$" not in said
    return said.removeprefix("mine.toml: ")


def value_of(made: Recipe, section: str, key: str) -> Any:
    for name in [*filter(None, section.split(".")), key]:
        made = made[0] if isinstance(made, tuple) else made
        made = getattr(made, name)
    return made


def test_the_table_of_sections_is_complete() -> None:
    """A section added to the recipe has to be added here, too."""
    found = {field.type for kind in SECTIONS.values() for field in msgspec.structs.fields(kind) if isinstance(field.type, type)}
    assert {kind for kind in found if issubclass(kind, msgspec.Struct)} <= set(SECTIONS.values())
    assert len(list(keys())) > 45


@pytest.mark.parametrize(("section", "key"), list(keys()))
def test_a_value_of_another_kind_is_named(section: str, key: str) -> None:
    """A date is nothing that any key takes."""
    said = complaint(written(section, key, "2026-01-01"))
    assert said.startswith(f"{place(section, key)}: expected `"), said


@pytest.mark.parametrize(("section", "key"), [(section, key) for section, key in keys() if key not in ("mix", "data", *SECTIONS)])
def test_a_table_in_the_place_of_a_value_is_named(section: str, key: str) -> None:
    assert complaint(written(section, key, "{ a = 1 }")).startswith(f"{place(section, key)}: expected `")


@pytest.mark.parametrize("section", [name for name in SECTIONS if name])
def test_a_key_that_there_is_not_is_named(section: str) -> None:
    assert complaint(written(section, "nonsense", "1")) == f"{place(section, 'nonsense')}: there is no such setting"


@pytest.mark.parametrize(("section", "key", "word"), [
    ("base", "dtype", "f16"), ("base", "backend", "jax"), ("train", "optimizer", "sgd"), ("train", "schedule", "step"),
    ("train", "over_length", "cut"), ("check", "select", "best"), ("data", "source", "robot"), ("data", "use", "test"),
])  # fmt: skip
def test_a_word_that_is_none_of_the_choices_is_named(section: str, key: str, word: str) -> None:
    assert complaint(written(section, key, f'"{word}"')) == f"{place(section, key)}: invalid enum value '{word}'"


BOUNDS: list[tuple[str, str, list[str], list[str]]] = [
    # section, key, just outside, just inside
    ("", "seed", ["-1", "0.5"], ["0"]),
    ("base", "model", ['""'], ['"x"']),
    ("memory", "k", ["-1", "65"], ["0", "64"]),
    ("memory", "diversity", ["-0.01", "1.01"], ["0.0", "1.0"]),
    ("memory", "encoder", ['""'], ['"x"']),
    ("memory", "budget", ["-1"], ["0"]),
    ("memory", "variants", ["0", "65"], ["1", "64"]),
    ("lora", "r", ["0", "513"], ["1", "512"]),
    ("lora", "alpha", ["0", "4097"], ["1", "4096"]),
    ("lora", "dropout", ["-0.1", "1.0"], ["0.0", "0.99"]),
    ("train", "lr", ["0.0", "1.1"], ["1e-9", "1.0"]),
    ("train", "warmup", ["-1"], ["0"]),
    ("train", "final_lr", ["-0.1", "1.1"], ["0.0", "1.0"]),
    ("train", "weight_decay", ["-0.1", "1.1"], ["0.0", "1.0"]),
    ("train", "clip", ["-0.1"], ["0.0"]),
    ("train", "epochs", ["0.0", "10000.5"], ["0.01", "10000.0"]),
    ("train", "steps", ["-1"], ["0"]),
    ("train", "trajectories", ["0"], ["1"]),
    ("train", "tokens_at_once", ["-1"], ["0"]),
    ("train", "sequence", ["63"], ["64"]),
    ("check", "held_out", ["-1"], ["0"]),
    ("check", "evaluate_every", ["-1"], ["0"]),
    ("check", "checkpoint_every", ["0"], ["1"]),
    ("check", "keep", ["-1"], ["0"]),
    ("check", "episodes", ["0"], ["1"]),
    ("data", "environment", ['""'], ['"x"']),
    ("data", "split", ['""'], ['"x"']),
    ("data", "limit", ["-1"], ["0"]),
]


@pytest.mark.parametrize(("section", "key", "outside", "inside"), BOUNDS, ids=[f"{section}.{key}" for section, key, *_ in BOUNDS])
def test_bounds_are_kept_on_both_sides(section: str, key: str, outside: list[str], inside: list[str]) -> None:
    for value in outside:
        assert complaint(written(section, key, value)).startswith(f"{place(section, key)}: expected `"), value
    for value in inside:
        made = parse(written(section, key, value), "mine.toml")
        assert value_of(made, section, key) == msgspec.toml.decode(f"v = {value}")["v"]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("key", ["lr", "epochs", "weight_decay", "final_lr"])
def test_what_is_no_number_is_refused_wherever_a_number_is_bounded(key: str, value: str) -> None:
    assert complaint(written("train", key, value)).startswith(f"train.{key}: expected `float`")


@given(st.lists(st.floats(0, 1).map(lambda share: round(share, 3)), min_size=4, max_size=4))
def test_shares_are_taken_if_and_only_if_they_add_up_to_one(shares: list[float]) -> None:
    text = "[memory.mix]\n" + "\n".join(f"{kind} = {share}" for kind, share in zip(recipe.Mix.__struct_fields__, shares, strict=True))
    if abs(sum(shares) - 1) <= 1e-6:
        assert parse(text, "mine.toml").memory.mix == recipe.Mix(*shares)
    else:
        assert complaint(text) == f"memory.mix: the four shares must add up to 1, they add up to {sum(shares):g}"


def test_the_mix_of_a_source_is_checked_as_that_of_the_memory_is() -> None:
    assert complaint("[[data]]\n[[data]]\nmix = { matched = 0.5 }").startswith("data[1].mix: the four shares must add up to 1")
    assert complaint("[memory]\nk = 0\n[[data]]\n[[data]]\nmix = { matched = 0.5, mismatched = 0.5 }").startswith("data[1].mix: mismatched")


def test_of_several_sources_the_wrong_one_is_named() -> None:
    assert complaint("[[data]]\n[[data]]\n[[data]]\nlimit = -4").startswith("data[2].limit: expected `int` >= 0")


@pytest.mark.parametrize("text", ["[train", "lr == 3", "[train]\n[train]", "a = 'b", "\x00"])
def test_what_is_not_toml_is_said_to_be_none(text: str) -> None:
    assert complaint(text).startswith("not TOML: ")


@pytest.mark.parametrize(("change", "key"), [
    ("lora.r=0", "lora.r"), ("train.lr=fast", "train.lr"), ("data.limit=-1", "data[0].limit"), ("check.select=best", "check.select"),
    ("memory.mix.absent=2", "memory.mix.absent"), ("lora.targets=['head']", "lora.targets[0]"), ("nothing=1", "nothing"),
])  # fmt: skip
def test_a_change_on_the_command_line_is_checked_as_the_file_is(change: str, key: str) -> None:
    with pytest.raises(EdgexpError) as caught:
        parse("", "mine.toml", [change])
    assert str(caught.value).startswith(f"mine.toml: {key}: ") and "\n" not in str(caught.value)


def test_what_is_shown_names_every_key() -> None:
    """But those without a value: TOML has no way to say none."""
    shown = show(Recipe(memory=recipe.Memory(diversity=0.5), data=(recipe.Data(mix=recipe.Mix()),)))
    for section, key in keys():
        if key not in SECTIONS and section != "memory.mix":
            assert f"\n{key} = " in "\n" + shown, f"{section}.{key}"
