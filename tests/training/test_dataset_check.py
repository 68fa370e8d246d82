"""The check of samples: a sound one passes, and each way to be unsound is found and named."""

import copy

import msgspec
import pytest
from toys import make_trajectory

from edgexp.errors import EdgexpError
from edgexp.prompt.render import Part, Renderer
from edgexp.training.dataset import Remembering, check_sample, find_problems

EPISODE = make_trajectory(("open box 1", "take key 1", "use key 1"))
MEMORY = [make_trajectory(("look",), goal="other."), make_trajectory(("wait", "jump"), success=False)]


@pytest.fixture(scope="module")
def renderer(model, template):
    return Renderer(Remembering(model.vocabulary), template, "You act in a house.")


@pytest.fixture
def sample(renderer):
    return copy.deepcopy(renderer.trajectory(EPISODE, MEMORY))


def part_of(sample, name):
    return next(p for p in sample.parts if p.name.startswith(name))


def test_a_sound_sample_passes(renderer, sample):
    assert list(find_problems(sample, EPISODE, renderer)) == []
    assert list(find_problems(renderer.trajectory(EPISODE), EPISODE, renderer)) == []


def test_what_is_wrong_is_an_error_that_names_the_trajectory(renderer, sample):
    sample.labels.pop()
    with pytest.raises(EdgexpError, match=rf"sample of toy/train/1 \({EPISODE.id}\) cannot be trained on: it has 2 labels for 3 actions"):
        check_sample(sample, EPISODE, renderer)


def test_a_label_on_a_mistake_is_found(renderer, sample):
    first, second, third = EPISODE.steps
    mistaken = msgspec.structs.replace(EPISODE, steps=(first, msgspec.structs.replace(second, mistake=True), third))
    assert list(find_problems(renderer.trajectory(mistaken, MEMORY), mistaken, renderer)) == []
    assert list(find_problems(sample, mistaken, renderer)) == ["it has 3 labels for 2 actions"]


def test_a_trajectory_without_actions_has_nothing_to_learn(renderer):
    empty = make_trajectory(())
    assert list(find_problems(renderer.trajectory(empty), empty, renderer)) == ["it has 0 labels for 0 actions"]


@pytest.mark.parametrize("shift", [(-1, 0), (1, 0), (0, -1), (0, 1), (3, 3)])
def test_a_label_must_be_the_action_with_its_end_of_turn(renderer, sample, shift):
    first, last = sample.labels[1]
    sample.labels[1] = (first + shift[0], last + shift[1])
    assert any("is not the action 'take key 1'" in p for p in find_problems(sample, EPISODE, renderer))


def test_a_label_of_another_action_is_found(renderer, sample):
    sample.labels[0], sample.labels[1] = sample.labels[1], sample.labels[0]
    assert sum("is not the action" in p for p in find_problems(sample, EPISODE, renderer)) == 2


def test_a_label_in_the_memory_is_found(renderer, sample):
    """Even one that decodes to the very action."""
    twin = make_trajectory(("open box 1",))
    rendered = copy.deepcopy(renderer.trajectory(make_trajectory(("open box 1",), task_id="toy/train/2"), [twin]))
    remembered = part_of(rendered, "memory t")
    ids = renderer.action("open box 1")
    rendered.ids[remembered.start : remembered.start + len(ids)] = ids
    rendered.labels[0] = (remembered.start, remembered.start + len(ids))
    found = list(find_problems(rendered, twin, renderer))
    assert f"a label lies in {remembered.name}" in found and f"{remembered.name} holds a control token" in found


@pytest.mark.parametrize("name", ["memory t", "memory header", "task", "instructions", "observation 1", "action 2"])
def test_a_control_token_is_found_wherever_it_is(renderer, sample, name):
    part = part_of(sample, name)
    at = part.start + (len(renderer.template.after_action) if name.startswith("observation") else 0)
    sample.ids[at] = renderer.template.end[0]
    assert any(p == f"{part.name} holds a control token" for p in find_problems(sample, EPISODE, renderer))


def test_turns_must_be_the_templates(renderer, sample):
    opening, turn = part_of(sample, "template"), part_of(sample, "observation 2")
    sample.ids[opening.end - 1] += 1
    sample.ids[turn.end - 1] += 1
    found = list(find_problems(sample, EPISODE, renderer))
    assert found == ["it was not rendered with this template", "observation 2 does not begin and end as the template wants it"]


def test_nothing_may_stand_between_parts_or_after_them(renderer, sample):
    gone = sample.parts.index(part_of(sample, "task"))
    del sample.parts[gone]
    sample.ids.append(500)
    before, after = "there is something unnamed before template", "there is something unnamed at its end"
    assert list(find_problems(sample, EPISODE, renderer)) == [before, after]
    sample.parts.append(Part("more", len(sample.ids) - 1, len(sample.ids)))
    assert list(find_problems(sample, EPISODE, renderer)) == [before]


# Memory that stands apart


@pytest.fixture(scope="module")
def apart(renderer):
    return Renderer(renderer.tokenizer, renderer.template, renderer.instructions, "apart")


def test_a_sound_sample_with_blocks_passes(apart):
    assert list(find_problems(apart.trajectory(EPISODE), EPISODE, apart)) == []
    sample = apart.trajectory(EPISODE, MEMORY)
    assert list(find_problems(sample, EPISODE, apart)) == [] and len(sample.blocks) == 2


def test_blocks_must_be_the_past_episodes(renderer, apart):
    whole = apart.trajectory(EPISODE, MEMORY)
    (first, middle), (_, last) = whole.blocks
    for blocks in ([], [(first, middle)], [(first, last)], [(first, middle - 1), (middle - 1, last)], [(first - 1, middle), (middle, last)],
                   [*whole.blocks, (last, last + 2)]):
        sample = copy.deepcopy(whole)
        sample.blocks[:] = blocks
        assert "its blocks are not its past episodes" in list(find_problems(sample, EPISODE, apart)), blocks
    assert list(find_problems(whole, EPISODE, renderer)) == ["its blocks are not its past episodes"]
    assert list(find_problems(renderer.trajectory(EPISODE, MEMORY), EPISODE, apart)) == ["its blocks are not its past episodes"]


def test_blocks_must_stand_between_the_instructions_and_the_task(apart):
    sample = apart.trajectory(EPISODE, MEMORY)
    sample.parts[1] = Part("task", sample.parts[1].start, sample.parts[1].end)
    assert list(find_problems(sample, EPISODE, apart)) == ["its blocks do not stand between the instructions and the task"]


def test_a_label_in_a_block_is_found(apart):
    sample = apart.trajectory(EPISODE, MEMORY)
    sample.labels[0] = sample.blocks[0]
    assert any(p.startswith("a label lies in memory ") for p in find_problems(sample, EPISODE, apart))


def test_an_action_the_vocabulary_cannot_spell_is_not_trained_on(renderer):
    class Lossy(Remembering):
        def decode(self, ids):
            return super().decode(ids).replace("key", "k?y")

    other = Renderer(Lossy(renderer.tokenizer), renderer.template, renderer.instructions)
    assert any("'take k?y 1<|im_end|>'" in p for p in find_problems(other.trajectory(EPISODE), EPISODE, other))


def test_remembering_changes_nothing(model):
    known, own = Remembering(model.vocabulary), model.vocabulary
    for text in ("go to shelf 1", "go to shelf 1", "<|im_end|>", "é\n"):
        assert known.encode(text) == own.encode(text) and known.decode(own.encode(text)) == own.decode(own.encode(text))
    for token in (0, 1, 2, 500):
        assert (known.is_control(token), known.is_end(token)) == (own.is_control(token), own.is_end(token))
    assert known.control("<|im_end|>") == own.control("<|im_end|>")
