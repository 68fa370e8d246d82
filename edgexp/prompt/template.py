"""A model's chat template as token ids: what stands before, between and after the turns.

The pieces are learned from the model's own Jinja template: a conversation of placeholder texts is rendered, and what stands between the
placeholders is the template. Nothing is hard-coded to ChatML or Llama-3, and a template that rewrites earlier turns when a conversation
grows (so that tokens would not be append-only) is refused here, in words, instead of misbehaving later.
"""

from dataclasses import dataclass
from typing import Any, Protocol

from edgexp.errors import EdgexpError

BUILT_IN = {
    "chatml": "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "llama-3": "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content']"
    " + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
}
"""Templates by name, for files that carry none."""

_PLACES = ("PLACEHOLDERA", "PLACEHOLDERB", "PLACEHOLDERC", "PLACEHOLDERD", "PLACEHOLDERE", "PLACEHOLDERF")


class ControlTokenizer(Protocol):
    """What learning a template needs of a tokenizer."""

    def control(self, text: str) -> list[int]:
        """Ids of markers, special tokens on."""

    def is_end(self, token: int) -> bool:
        """Whether the token ends a turn."""


@dataclass(frozen=True)
class Template:
    """The ids around the turns: `before` system `after_system` user `after_user` action `end` `after_action` observation `after_user` …"""

    before: list[int]
    after_system: list[int]
    after_user: list[int]
    end: list[int]
    """Closes an action; the model is trained to say it."""
    after_action: list[int]
    """From the end of an action to the next observation's text."""


def learn(source: str, tokenizer: ControlTokenizer, bos: str = "", eos: str = "") -> Template:
    """The template's pieces as ids. `source` is Jinja text, or the name of a built-in one.

    Raises EdgexpError where the template fails, drops or alters a text, treats later turns otherwise than earlier ones, or closes an
    action without an end-of-turn token.
    """
    source = BUILT_IN.get(source, source)
    plain = "choose a plain one with: --template chatml"
    pieces = _split(render(source, _conversation(6), bos=bos, eos=eos))
    before, after_system, after_user, between = pieces[:4]
    if pieces[4] != after_user or pieces[5] != between or pieces[6] != after_user:
        raise EdgexpError(f"this model's chat template treats later turns differently; {plain}")
    if _split(render(source, _conversation(2), bos=bos, eos=eos))[:3] != pieces[:3]:
        raise EdgexpError(f"this model's chat template rewrites its beginning as turns are added; {plain}")
    closing = tokenizer.control(between)
    end = next((i for i, token in enumerate(closing) if tokenizer.is_end(token)), None)
    if end is None:
        raise EdgexpError(f"this model's chat template does not close a turn with an end token; {plain}")
    first, second, third = (tokenizer.control(piece) for piece in (before, after_system, after_user))
    return Template(first, second, third, closing[: end + 1], closing[end + 1 :])


def render(source: str, messages: list[dict[str, str]], *, bos: str = "", eos: str = "", generation: bool = True) -> str:
    """A conversation through a Jinja template, in a sandbox. Raises EdgexpError with the template's own complaint."""
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    # Templates that print today's date would make yesterday's training prompts differ from today's: they get a fixed day.
    functions: dict[str, Any] = {"raise_exception": refuse, "strftime_now": lambda form: _fixed_day().strftime(form)}
    try:
        template = environment.from_string(source, globals=functions)
        return template.render(messages=messages, add_generation_prompt=generation, bos_token=bos, eos_token=eos, date_string="26 Jul 2024")
    except jinja2.TemplateError as error:
        raise EdgexpError(f"this model's chat template fails: {error}; choose a plain one with: --template chatml") from error


def _conversation(turns: int) -> list[dict[str, str]]:
    roles = ("system", "user", "assistant", "user", "assistant", "user")
    return [{"role": role, "content": place} for role, place in zip(roles[:turns], _PLACES, strict=False)]


def _split(text: str) -> list[str]:
    """What stands before, between and after the placeholders."""
    pieces = []
    for place in _PLACES:
        if place not in text:
            break
        piece, text = text.split(place, 1)
        pieces.append(piece)
    if not pieces or any(place in text for place in _PLACES):
        raise EdgexpError("this model's chat template drops or reorders turns; choose a plain one with: --template chatml")
    return [*pieces, text]


def _fixed_day() -> Any:
    import datetime

    return datetime.datetime(2024, 7, 26)
