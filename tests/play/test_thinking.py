"""Thinking before acting: within a limit, kept in the sequence, told of and not remembered."""

from typing import Any

import pytest
from mock_engine import VOCABULARY, MockEngine, make_policy, saying
from rich.console import Console
from tool_toys import Home
from toys import Counting

from edgexp.cli.screens import Live
from edgexp.engine.engine import TokenSequence
from edgexp.environments.boundary import checked
from edgexp.errors import EdgexpError
from edgexp.play.acting import Acting
from edgexp.play.episode import play
from edgexp.play.local import LocalPolicy
from edgexp.play.rollout import run
from edgexp.prompt.render import make_renderer
from edgexp.trajectory import Played, encode


def thinking(thought: str, action: str, world: Any = None, *, tokens: int = 40, actions: str = "admissible", template: str = "chatml",
             watch: Any = lambda _: None, context: int = 16_384) -> tuple[Played, str]:
    """An episode of a model that always thinks and does the same; and the text of its sequence."""
    world = world or Counting(2)
    renderer = make_renderer(VOCABULARY, template, world.instructions())
    acting = Acting(think=tokens, actions=actions, repeats=0)  # type: ignore[arg-type]
    policy = LocalPolicy(TokenSequence(0), renderer, None, acting, context=context, reserve=100, action_tokens=60)
    said = saying(lambda _: f"<think>\n{thought}\n</think>\n\n{action}")
    played = run(play(world, world.tasks("train")[0], policy, watch=watch), MockEngine(said))
    return played, VOCABULARY.decode(policy._sequence.ids)


@pytest.mark.parametrize("template", ["chatml", "qwen-3"])
@pytest.mark.parametrize("actions", ["admissible", "scored", "free"])
def test_a_thought_stays_in_the_sequence_and_in_no_trajectory(actions: str, template: str) -> None:
    played, text = thinking("One more.", "add one", actions=actions, template=template)
    assert played.trajectory.success and [d.thought for d in played.decisions] == ["One more."] * 2
    assert text.count("<|im_start|>assistant\n<think>\nOne more.\n</think>\n\nadd one<|im_end|>") == 2, "and no empty thought"
    assert b"One more" not in encode(played.trajectory)
    assert all(d.generated > len("One more.") for d in played.decisions)


def test_a_thought_ends_at_its_limit() -> None:
    played, text = thinking("Let me see. " * 20, "add one", tokens=20)
    assert [d.thought for d in played.decisions] == ["Let me see. Let me s"] * len(played.decisions) and played.trajectory.steps
    assert "Let me see. Let me s\n</think>\n\n" in text


def test_a_model_that_ends_its_turn_has_thought_enough() -> None:
    renderer = make_renderer(VOCABULARY, "chatml", "Go.")
    world = Counting(1)
    policy = LocalPolicy(TokenSequence(0), renderer, None, Acting(think=30), action_tokens=20)
    played = run(play(world, world.tasks("train")[0], policy, max_steps=1), MockEngine(saying(lambda _: "<think>\nHm")))
    assert played.decisions[0].thought == "Hm" and played.trajectory.steps[0].action in world.admissible()


def test_thoughts_come_before_calls_too() -> None:
    played, _ = thinking("The big one.", 'switch(lamp="big lamp", on=true)', checked(Home(), "test"))
    assert played.trajectory.success and played.decisions[0].thought == "The big one."


def test_thoughts_are_shown_dimmed() -> None:
    console = Console(record=True, width=80, force_terminal=True, color_system="standard")
    thinking("One more.", "add one", watch=Live(console, 1))
    shown = console.export_text(styles=True)
    assert "\x1b[2;3mOne more." in shown.replace("\x1b[2;3m      ", "") or "\x1b[2;3mOne more." in shown


def test_what_may_be_thought_has_to_fit() -> None:
    with pytest.raises(EdgexpError, match="and 860 for an action do not fit a context of 800"):
        thinking("x", "add one", tokens=800, context=800)


def test_without_the_setting_nothing_is_thought() -> None:
    world = Counting(1)
    played = run(play(world, world.tasks("train")[0], make_policy(world)), MockEngine(saying(lambda _: "add one")))
    assert played.decisions[0].thought == "" and played.trajectory.success
