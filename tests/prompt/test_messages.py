"""A prompt in words: who says what in which order, what is a label, and that a server's turns lose nothing."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from prompt_samples import memories, texts, trajectories, unbegun
from toys import make_trajectory

from edgexp.prompt import messages as words
from edgexp.prompt.messages import Message, chat, history, memory_text, opening, remembering, turn, whole
from edgexp.trajectory import Step, Trajectory

RULES = "You act in a house.\nAnswer with one action."
episodes = st.one_of(trajectories, unbegun)


@given(episodes, memories)
def test_a_whole_episode_is_its_history_and_its_last_action(t: Trajectory, memory: list[Trajectory]) -> None:
    before = history(RULES, t.goal, t.observation, t.steps[:-1], memory)
    last = [words.action(len(t.steps), t.steps[-1])] if t.steps else []
    assert whole(RULES, t, memory) == [*before, *last]


@given(trajectories, memories)
def test_a_history_grows_by_whole_turns(t: Trajectory, memory: list[Trajectory]) -> None:
    grown = opening(RULES, t.goal, t.observation, memory)
    assert grown == history(RULES, t.goal, t.observation, (), memory)
    for number, step in enumerate(t.steps, 1):
        grown += turn(number, step)
        assert grown == history(RULES, t.goal, t.observation, t.steps[:number], memory)
    assert grown[:-1] == whole(RULES, t, memory), "what the last action led to is nothing that is said or answered"


@given(episodes, memories)
def test_after_the_system_messages_user_and_assistant_take_turns(t: Trajectory, memory: list[Trajectory]) -> None:
    roles = [message.role for message in whole(RULES, t, memory)]
    system = roles.count("system")
    assert roles[:system] == ["system"] * system
    assert roles[system:] == (["user", "assistant"] * len(t.steps) or ["user"])
    assert history(RULES, t.goal, t.observation, t.steps, memory)[-1].role == "user", "the model answers a user"


@given(episodes, memories)
def test_labels_are_the_actions_that_are_no_mistakes(t: Trajectory, memory: list[Trajectory]) -> None:
    labels = [(message.part, message.text) for message in whole(RULES, t, memory) if message.label]
    assert labels == [(f"action {number}", step.action) for number, step in enumerate(t.steps, 1) if not step.mistake]


@given(episodes, memories)
def test_parts_say_what_each_message_is(t: Trajectory, memory: list[Trajectory]) -> None:
    parts = [message.part for message in whole(RULES, t, memory)]
    assert parts[0] == "instructions" and parts.count("instructions") == parts.count("task") == 1
    remembered = parts[1 : parts.index("task")]
    assert sorted(part for part in remembered if part != "memory header") == sorted(f"memory {m.id}" for m in memory)
    assert remembered.count("memory header") == len({m.success for m in memory})
    played = [f"{kind} {number}" for number in range(1, len(t.steps) + 1) for kind in ("action", "observation")]
    assert parts[parts.index("task") + 1 :] == played[:-1]


@given(memories)
def test_failed_episodes_stand_before_those_that_succeeded_and_the_most_relevant_last(memory: list[Trajectory]) -> None:
    failed, succeeded = ([t for t in memory if t.success is won] for won in (False, True))
    expected = []
    for header, group in (("\n\nPast episodes that failed:", failed), ("\n\nPast episodes that succeeded:", succeeded)):
        if group:
            expected += [header, *(memory_text(t) for t in group[::-1])]
    assert [message.text for message in remembering(memory)] == expected
    assert {message.role for message in remembering(memory)} <= {"system"}


@given(trajectories)
def test_a_past_episode_is_written_in_the_words_it_was_played_in(t: Trajectory) -> None:
    begun = f"{t.observation}\n\nYour task is to: {t.goal}".replace("\n\n", "\n")
    assert memory_text(t) == "\n\n" + begun + "".join(f"\n>{step.action}\n{step.observation}" for step in t.steps)


@given(episodes, memories)
def test_a_servers_turns_alternate_and_lose_no_text(t: Trajectory, memory: list[Trajectory]) -> None:
    messages = whole(RULES, t, memory)
    turns = chat(messages)
    assert [set(said) for said in turns] == [{"role", "content"}] * len(turns)
    assert "".join(said["content"] for said in turns) == "".join(message.text for message in messages)
    assert all(one["role"] != other["role"] for one, other in pairwise(turns))
    assert [said["role"] for said in turns] == (["system"] + (["user", "assistant"] * len(t.steps) or ["user"]))
    assert [said["content"] for said in turns if said["role"] == "assistant"] == [step.action for step in t.steps]


@given(st.lists(st.builds(Message, st.sampled_from(["system", "user", "assistant"]), texts, texts), max_size=9))
def test_any_messages_become_turns_without_loss(messages: list[Message]) -> None:
    for role in ("system", "user", "assistant"):
        told = "".join(said["content"] for said in chat(messages) if said["role"] == role)
        assert told == "".join(message.text for message in messages if message.role == role)
    assert all(one["role"] != other["role"] for one, other in pairwise(chat(iter(messages))))


def test_the_words_of_a_prompt_stay_what_models_were_trained_on() -> None:
    """Whoever changes these words has to raise VERSION, and says so here."""
    memory = [make_trajectory(goal="older."), make_trajectory(("cry",), goal="worse.", success=False)]
    t = make_trajectory(goal="now.", observation="You see a door.")
    system = (
        "Act.\n\nPast episodes that failed:\n\nYou see a box.\nYour task is to: worse.\n>cry\nAfter cry."
        "\n\nPast episodes that succeeded:\n\nYou see a box.\nYour task is to: older.\n>open it\nAfter open it.\n>take it\nAfter take it."
    )
    assert words.VERSION == 1
    assert chat(whole("Act.", t, memory)) == [
        {"role": "system", "content": system},
        {"role": "user", "content": "You see a door.\n\nYour task is to: now."},
        {"role": "assistant", "content": "open it"},
        {"role": "user", "content": "After open it."},
        {"role": "assistant", "content": "take it"},
    ]


def test_without_memory_nothing_is_said_about_it() -> None:
    assert [message.text for message in opening("Act.", "g", "o")] == ["Act.", "o\n\nYour task is to: g"]
    assert turn(3, Step("go", "gone")) == (Message("assistant", "go", "action 3", True), Message("user", "gone", "observation 3"))
