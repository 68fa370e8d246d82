"""Templates learned from Jinja text."""

import pytest

from edgexp.errors import EdgexpError
from edgexp.prompt.template import BUILT_IN, learn, render

QWEN = (
    "{%- if messages[0]['role'] == 'system' %}{{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}"
    "{%- else %}{{- '<|im_start|>system\\nYou are helpful.<|im_end|>\\n' }}{%- endif %}"
    "{%- for m in messages %}{%- if m.role != 'system' %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}"
    "{%- endif %}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


class Words:
    """A tokenizer in which every character is a token but `<…>` markers, which are one."""

    def control(self, text):
        ids, rest = [], text
        while rest:
            marker = rest[: rest.index(">") + 1] if rest.startswith("<|") else rest[0]
            ids.append(marker)
            rest = rest[len(marker) :]
        return ids

    def is_end(self, token):
        return token in ("<|im_end|>", "<|eot_id|>")


def text(ids):
    return "".join(ids)


@pytest.mark.parametrize("source", ["chatml", QWEN])
def test_chatml(source):
    learned = learn(source, Words())
    assert text(learned.before) == "<|im_start|>system\n"
    assert text(learned.after_user) == "<|im_end|>\n<|im_start|>assistant\n"
    assert learned.end == ["<|im_end|>"]
    assert text(learned.after_action) == "\n<|im_start|>user\n"


def test_llama_3():
    learned = learn("llama-3", Words(), bos="<|begin_of_text|>")
    assert text(learned.before) == "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
    assert learned.end == ["<|eot_id|>"]
    assert text(learned.after_action) == "<|start_header_id|>user<|end_header_id|>\n\n"


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("{{ raise_exception('no system role') }}", "no system role"),
        ("{% for m in messages %}{% if", "fails"),
        ("{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}", "drops"),
        ("{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}", "end tok"),
        ("{{ messages | length }}{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}", "rewrites"),
        ("{% for m in messages %}{{ loop.index }}{{ m.content }}<|im_end|>{% endfor %}", "differently"),
        ("", "drops"),
    ],
)
def test_templates_that_cannot_be_append_only_are_refused(source, complaint):
    with pytest.raises(EdgexpError, match=complaint):
        learn(source, Words())


def test_a_template_cannot_reach_python():
    with pytest.raises(EdgexpError, match="fails"):
        render("{{ ''.__class__.__mro__[1].__subclasses__() }}", [])


def test_a_date_in_a_template_is_always_the_same_day():
    assert render("{{ strftime_now('%Y') }}", []) == "2024"


def test_the_real_models_template_is_learned_and_equal(model, template):
    messages = [{"role": r, "content": c} for r, c in (("system", "Be good."), ("user", "hello"), ("assistant", "go"), ("user", "ok"))]
    ids, t, encode = [], template, model.vocabulary.encode
    ids += [*t.before, *encode("Be good."), *t.after_system, *encode("hello"), *t.after_user]
    ids += [*encode("go"), *t.end, *t.after_action, *encode("ok"), *t.after_user]
    assert ids == model.vocabulary.control(render(model.template, messages))
    assert learn(BUILT_IN["chatml"], model.vocabulary) == template
