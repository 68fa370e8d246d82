"""How models think before they answer, by their templates."""

import pytest
from mock_engine import VOCABULARY

from edgexp.prompt.template import Template
from edgexp.prompt.thoughts import learn_thinking


@pytest.mark.parametrize(("header", "empty", "opened", "closed"), [
    ("<|im_start|>assistant\n", "", "<think>\n", "\n</think>\n\n"),
    ("<|im_start|>assistant\n", "<think>\n\n</think>\n\n", "<think>\n", "\n</think>\n\n"),
    ("<|turn>model\n", "<|channel>thought\n<channel|>", "<|channel>thought\n", "<channel|>"),
    ("[/INST]", "[THINK][/THINK]", "[THINK]", "[/THINK]"),
    ("<|START_OF_TURN_TOKEN|>", "<|START_THINKING|><|END_THINKING|>", "<|START_THINKING|>", "<|END_THINKING|>"),
])  # fmt: skip
def test_a_thought_stands_in_the_place_of_an_empty_one(header: str, empty: str, opened: str, closed: str) -> None:
    template = Template([], [], VOCABULARY.control(header + empty), [257], [])
    how = learn_thinking(template, VOCABULARY)
    assert (VOCABULARY.decode(how.opened), VOCABULARY.decode(how.closed)) == (opened, closed)
    assert VOCABULARY.decode(template.after_user[: len(template.after_user) - how.replaced]) == header and how.mark in closed
