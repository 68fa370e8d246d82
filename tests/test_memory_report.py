"""`tools/memory_report.py`: what it says of an action is what the model gives token after token, and bad memory is not the good one."""

import importlib.util
import sys
from pathlib import Path

import msgspec
import pytest
from toys import make_trajectory

from edgexp.engine.engine import log_probability
from edgexp.evaluation.field import Field
from edgexp.evaluation.suite import Condition, Experience, Suite, Tasks
from edgexp.prompt.render import Renderer
from edgexp.trajectory import Step

TOOL = Path(__file__).parents[1] / "tools" / "memory_report.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("memory_report", TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules["memory_report"] = module
    spec.loader.exec_module(module)
    return module


def slowly(engine, ids, labels):
    """Log-probability of every label span, and whether it is the greedy choice, one token at a time."""
    sequence, found = engine.new(), []
    for first, last in labels:
        sequence.append(ids[len(sequence.ids) : first])
        logp, greedy = 0.0, True
        for token in ids[first:last]:
            engine.evaluate([sequence])
            logp, greedy = logp + log_probability(sequence.logits, token), greedy and int(sequence.logits.argmax()) == token
            sequence.append([token])
        found.append((logp, greedy))
    engine.free(sequence)
    return found


def test_an_action_is_judged_as_token_after_token(tool, engine, model, template):
    renderer = Renderer(model.vocabulary, template, "Answer with a number.")
    past = make_trajectory(("one", "two", "three"))
    episode = msgspec.structs.replace(past, steps=(*past.steps[:2], Step("seven", "Wrong.", mistake=True), past.steps[2]))
    for memory in ([], [past]):
        rendered = renderer.trajectory(episode, memory)
        reads = tool.actions(engine, renderer, episode, memory)
        expected = slowly(engine, rendered.ids, rendered.labels)
        assert len(reads) == 3, "a slip is not asked for"
        for read, (logp, greedy) in zip(reads, expected, strict=True):
            assert read.logp == pytest.approx(logp, abs=0.5)  # see the bound in tests/engine/test_engine.py, for three tokens
            assert read.greedy == greedy
    with_memory, without = (sum(r.logp for r in tool.actions(engine, renderer, episode, memory)) for memory in ([past], []))
    assert with_memory > without


def test_what_is_remembered_is_of_the_tasks_own_group_or_of_the_other(tool, encoder_folder):
    entry = Tasks("household", ("dev",), ("easy", "hard"), number=1, experience=Experience(number=6))
    suite = Suite((Condition(name="any"),), tasks=(entry,))
    with Field("memory-report", suite, {}, print) as field:
        for episode, found in tool.episodes(field, entry, 2):
            assert episode.success and list(found) == ["none", "matched", "mismatched"] and found["none"] == []
            assert {t.task.group for t in found["matched"]} == {episode.task.group}
            assert not {t.task.group for t in found["mismatched"]} & {episode.task.group}
            assert len(found["matched"]) == len(found["mismatched"]) == 2
