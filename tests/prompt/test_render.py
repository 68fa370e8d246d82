"""The renderer: what it writes, what no text can forge, and that running and training see the same ids."""

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mock_engine import VOCABULARY, MockVocabulary
from prompt_samples import memories, texts, trajectories, unbegun
from toys import make_trajectory

from edgexp.errors import EdgexpError
from edgexp.prompt.messages import Message, block_text, first_turn, history, whole
from edgexp.prompt.render import Renderer, learn_template, make_renderer
from edgexp.prompt.template import BUILT_IN, render

INSTRUCTIONS = "You act in a house.\nAnswer with one action."
slow = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module", params=["mock", pytest.param("real", marks=pytest.mark.slow)])
def renderer(request):
    """Once over a vocabulary of bytes, once over the default model's."""
    if request.param == "mock":
        return make_renderer(VOCABULARY, "chatml", INSTRUCTIONS)
    return Renderer(request.getfixturevalue("model").vocabulary, request.getfixturevalue("template"), INSTRUCTIONS)


@pytest.fixture
def of_the_model(model, template):
    """The default model's renderer alone."""
    return Renderer(model.vocabulary, template, INSTRUCTIONS)


@given(episode=trajectories, memory=memories)
@slow
def test_no_text_yields_a_control_token(renderer, episode, memory):
    rendered = renderer.trajectory(episode, memory)
    controls = [i for i in rendered.ids if renderer.tokenizer.is_control(i)]
    turns = 2 * len(episode.steps)  # the opening's user turn and one after every action but the last; every action
    begins = 1 + turns
    assert len(controls) == begins + (begins - 1) + 1
    t = renderer.template
    assert set(controls) <= {i for piece in (t.before, t.after_system, t.after_user, t.end, t.after_action) for i in piece}


@given(episode=trajectories, memory=memories)
@slow
def test_labels_are_the_actions_and_nothing_of_the_memory(renderer, episode, memory):
    rendered = renderer.trajectory(episode, memory)
    spoken = [rendered.ids[a:b] for a, b in rendered.labels]
    assert spoken == [[*renderer.tokenizer.encode(s.action), *renderer.template.end] for s in episode.steps if not s.mistake]
    task = next(p for p in rendered.parts if p.name == "task")
    assert all(start >= task.end for start, _ in rendered.labels)
    for part in rendered.parts:
        if part.name.startswith("memory"):
            assert all(end <= part.start or start >= part.end for start, end in rendered.labels)


@given(episode=trajectories, slips=st.sets(st.integers(0, 3)))
@slow
def test_slips_are_in_the_prompt_and_are_no_labels(renderer, episode, slips):
    steps = tuple(msgspec.structs.replace(step, mistake=number in slips) for number, step in enumerate(episode.steps))
    unslipped = tuple(msgspec.structs.replace(step, mistake=False) for step in episode.steps)
    plain = renderer.trajectory(msgspec.structs.replace(episode, steps=unslipped))
    slipped = renderer.trajectory(msgspec.structs.replace(episode, steps=steps))
    assert slipped.ids == plain.ids and slipped.parts == plain.parts
    assert slipped.labels == [span for number, span in enumerate(plain.labels) if number not in slips]


@given(episode=trajectories, memory=st.lists(trajectories, max_size=2))
@slow
def test_an_episode_grows_by_appending_and_ends_as_its_training_sample(renderer, episode, memory):
    t = episode
    ids = list(renderer.opening(t.goal, t.observation, memory).ids)
    for number, step in enumerate(t.steps):
        assert ids == renderer.history(t.goal, t.observation, t.steps[:number], memory).ids
        ids += renderer.action(step.action)
        if number < len(t.steps) - 1:
            ids += renderer.reply(step.observation)
    assert ids == renderer.trajectory(t, memory).ids


def test_parts_cover_every_token_once(renderer):
    rendered = renderer.trajectory(make_trajectory(), [make_trajectory(goal="older."), make_trajectory(goal="failed.", success=False)])
    assert [p.start for p in rendered.parts] == [0, *(p.end for p in rendered.parts[:-1])]
    assert rendered.parts[-1].end == len(rendered.ids)


def test_memory_stands_in_the_system_turn_failures_first_and_the_best_nearest(renderer):
    best, second, failed = (make_trajectory(goal=g, success=g != "failed.") for g in ("best.", "second.", "failed."))
    text = renderer.tokenizer.decode(renderer.opening("now.", "You see a door.", [best, failed, second]).ids)
    order = ("Past episodes that failed", "failed.", "Past episodes that succeeded", "second.", "best.", "<|im_start|>user")
    assert [text.index(o) for o in order] == sorted(text.index(o) for o in order)
    assert ">open it\nAfter open it.\n>take it" in text


def test_the_cost_of_memory_is_exact(renderer):
    memory = [make_trajectory(goal="one."), make_trajectory(("look",) * 30, goal="two.")]
    bare, full = renderer.opening("g", "o"), renderer.opening("g", "o", memory)
    header = next(p for p in full.parts if p.name == "memory header")
    assert len(full.ids) - len(bare.ids) == sum(map(renderer.cost, memory)) + header.end - header.start
    assert header.end - header.start <= renderer.headers_cost


def test_ids_are_those_of_the_models_own_template(of_the_model, model):
    renderer = of_the_model
    t = make_trajectory()
    messages = [{"role": "system", "content": renderer.instructions}, {"role": "user", "content": first_turn(t.goal, t.observation)}]
    messages += [{"role": "assistant", "content": t.steps[0].action}, {"role": "user", "content": t.steps[0].observation}]
    text = render(model.template, messages)
    assert renderer.history(t.goal, t.observation, t.steps[:1]).ids == model.vocabulary.control(text)


def test_an_action_in_memory_has_the_tokens_of_a_spoken_one(of_the_model):
    """Copying what memory shows must not need other tokens than it shows."""
    item = of_the_model.tokenizer.encode("\n>go to cabinet 1\nok")
    spoken = of_the_model.tokenizer.encode("go to cabinet 1")
    assert any(item[i : i + len(spoken)] == spoken for i in range(len(item)))


# What follows writes prompts a second time, by hand, and compares ids.


def chatml_by_hand(instructions, episode, memory, closed):
    """The ids of an episode as ChatML, from bytes and two control tokens: what the renderer has to give, whatever it is made of."""
    start, end = [256], [257]

    def content(text):
        return list(text.encode("utf-8", "replace"))

    def past(t):
        seen = f"{t.observation}\n\nYour task is to: {t.goal}".replace("\n\n", "\n")
        return "\n\n" + "\n".join([seen, *(line for step in t.steps for line in (">" + step.action, step.observation))])

    failed = "".join(past(t) for t in memory[::-1] if not t.success)
    succeeded = "".join(past(t) for t in memory[::-1] if t.success)
    system = instructions
    system += f"\n\nPast episodes that failed:{failed}" if failed else ""
    system += f"\n\nPast episodes that succeeded:{succeeded}" if succeeded else ""
    ids = [*start, *content("system\n" + system), *end, *content("\n"), *start]
    ids += [*content(f"user\n{episode.observation}\n\nYour task is to: {episode.goal}"), *end]
    for number, step in enumerate(episode.steps):
        ids += [*content("\n"), *start, *content("assistant\n" + step.action), *end]
        if number < len(episode.steps) - 1 or not closed:
            ids += [*content("\n"), *start, *content("user\n" + step.observation), *end]
    return ids if closed and episode.steps else [*ids, *content("\n"), *start, *content("assistant\n")]


@given(st.one_of(trajectories, unbegun), memories, texts)
def test_ids_are_those_of_a_prompt_written_by_hand(episode, memory, instructions):
    renderer = make_renderer(VOCABULARY, "chatml", instructions)
    assert renderer.trajectory(episode, memory).ids == chatml_by_hand(instructions, episode, memory, closed=True)
    grown = renderer.history(episode.goal, episode.observation, episode.steps, memory).ids
    assert grown == chatml_by_hand(instructions, episode, memory, closed=False)


class Llama(MockVocabulary):
    """Bytes, and the control tokens that Llama 3 has."""

    CONTROL = ("<|start_header_id|>", "<|eot_id|>", "<|end_header_id|>", "<|begin_of_text|>")
    bos = 259


@given(trajectories)
def test_another_template_writes_other_turns_around_the_same_words(episode):
    def said(role, text):
        return [256, *role.encode(), 258, 10, 10, *text.encode("utf-8", "replace"), 257]

    turns = [("system", "Act."), ("user", first_turn(episode.goal, episode.observation))]
    for step in episode.steps:
        turns += [("assistant", step.action), ("user", step.observation)]
    ids = [i for role, text in turns[:-1] for i in said(role, text)]
    for template in ("llama-3", BUILT_IN["llama-3"]):
        assert make_renderer(Llama(), template, "Act.").trajectory(episode).ids == [259, *ids]


@given(episode=st.one_of(trajectories, unbegun), memory=memories)
@slow
def test_every_prompt_begins_with_the_prefix(renderer, episode, memory):
    prefix = renderer.prefix()
    for rendered in (renderer.trajectory(episode, memory), renderer.opening(episode.goal, episode.observation, memory)):
        assert rendered.ids[: len(prefix)] == prefix
        first, second, *_ = rendered.parts
        assert (first.name, second.name, second.end) == ("template", "instructions", len(prefix))


@given(episode=st.one_of(trajectories, unbegun), memory=memories)
@slow
def test_parts_cover_all_ids_without_gaps_and_labels_are_parts(renderer, episode, memory):
    for rendered in (renderer.trajectory(episode, memory), renderer.history(episode.goal, episode.observation, episode.steps, memory)):
        assert [part.start for part in rendered.parts] == [0, *(part.end for part in rendered.parts[:-1])]
        assert rendered.parts[-1].end == len(rendered.ids)
        assert set(rendered.labels) <= {(part.start, part.end) for part in rendered.parts if part.name.startswith("action ")}


@given(episode=trajectories, memory=memories)
@slow
def test_an_episode_is_rendered_as_its_messages_are(renderer, episode, memory):
    t = episode
    assert renderer.trajectory(t, memory) == renderer.render(whole(INSTRUCTIONS, t, memory))
    so_far = (t.goal, t.observation, t.steps, memory)
    assert renderer.history(*so_far) == renderer.render(history(INSTRUCTIONS, *so_far))
    names = [message.part for message in whole(INSTRUCTIONS, t, memory)]
    assert [part.name for part in renderer.trajectory(t, memory).parts if part.name != "template"] == names


def test_what_is_remembered_of_a_text_is_never_changed(renderer):
    """A renderer keeps ids of texts that it saw. Whoever is given them may append to them."""
    plain = renderer.trajectory(make_trajectory(), [make_trajectory(goal="older.")]).ids
    again = renderer.trajectory(make_trajectory(), [make_trajectory(goal="older.")])
    again.ids.extend([1, 2, 3])
    assert renderer.trajectory(make_trajectory(), [make_trajectory(goal="older.")]).ids == plain


def test_a_renderer_that_saw_many_texts_still_writes_the_same():
    renderer = make_renderer(VOCABULARY, "chatml", "Act.")
    for number in range(50_003):
        renderer.action(str(number))
    for number in range(2_003):
        renderer.render([Message("system", f"text {number}", "instructions")])
    assert len(renderer._actions) < 50_000 and len(renderer._items) < 2_000, "what is remembered has an end"
    t = make_trajectory(("7", "text 7"))
    assert renderer.trajectory(t, [t]).ids == make_renderer(VOCABULARY, "chatml", "Act.").trajectory(t, [t]).ids


def test_a_model_without_a_template_speaks_chatml():
    assert learn_template(VOCABULARY, None) == learn_template(VOCABULARY, "") == learn_template(VOCABULARY, BUILT_IN["chatml"])
    with pytest.raises(EdgexpError, match="no system role"):
        make_renderer(VOCABULARY, "{{ raise_exception('no system role') }}", "Act.")


def test_a_templates_own_first_and_last_token_are_known_to_it():
    source = "{{ bos_token }}" + BUILT_IN["chatml"].replace("'<|im_end|>\n'", "'<|im_end|>' + eos_token + '\n'")

    class Ended(MockVocabulary):
        CONTROL = ("<|im_start|>", "<|im_end|>", "<s>", "</s>")
        bos, eos = 258, 259

    learned = learn_template(Ended(), source)
    assert learned.before[0] == 258 and learned.end == [257] and learned.after_action[0] == 259


@pytest.fixture(params=["mock"])
def apart(request):
    """A renderer whose memory stands apart."""
    return make_renderer(VOCABULARY, "chatml", INSTRUCTIONS, "apart")


@given(episode=trajectories, memory=memories)
@slow
def test_blocks_stand_between_the_instructions_and_the_task(apart, episode, memory):
    rendered = apart.trajectory(episode, memory)
    memory = list({block_text(t): t for t in memory}.values())  # what reads the same stands there once
    assert len(rendered.blocks) == len(memory)
    before, blocks, after = rendered.shared
    assert [*before, *(i for block in blocks for i in block), *after] == rendered.ids
    if memory:
        assert before == apart.prefix()
        assert all(last == first for (_, last), (first, _) in zip(rendered.blocks, rendered.blocks[1:], strict=False))
        assert {(p.start, p.end) for p in rendered.parts if p.name.startswith("memory")} == set(rendered.blocks)
        assert sorted(map(len, blocks)) == sorted(map(apart.cost, memory))
    else:
        assert rendered.ids == make_renderer(VOCABULARY, "chatml", INSTRUCTIONS).trajectory(episode).ids


@given(episode=trajectories, memory=memories)
@slow
def test_a_block_is_the_same_alone_and_among_others(apart, episode, memory):
    together = apart.trajectory(episode, memory).shared[1]
    alone = [apart.trajectory(episode, [t]).shared[1][0] for t in memory]
    assert sorted(together) == sorted({tuple(block): block for block in alone}.values())
    assert apart.trajectory(episode, memory[::-1]).ids == apart.trajectory(episode, memory).ids


@given(episode=trajectories, memory=memories)
@slow
def test_all_blocks_begin_at_one_position_and_the_task_after_the_longest(apart, episode, memory):
    rendered = apart.trajectory(episode, memory)
    positions = rendered.positions
    assert len(positions) == len(rendered.ids)
    if memory:
        first, last = rendered.blocks[0][0], rendered.blocks[-1][1]
        longest = max(end - start for start, end in rendered.blocks)
        assert positions[:first] == list(range(first))
        assert all(positions[start:end] == list(range(first, first + end - start)) for start, end in rendered.blocks)
        assert positions[last:] == list(range(first + longest, first + longest + len(rendered.ids) - last))
    else:
        assert positions == list(range(len(rendered.ids)))
