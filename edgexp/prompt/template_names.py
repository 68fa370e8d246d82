"""Chat templates by name, for files that carry none or one that cannot be used. Written here, not taken from any model.

None writes the token that begins a text: where the vocabulary wants one, it is put first anyway (see `template.py`). Only Llama 3's does.
"""

_EACH = "{% for m in messages %}"
_DONE = "{% endfor %}{% if add_generation_prompt %}"
_END = "{% endif %}"


def _marked(system: str, user: str, assistant: str, end: str) -> str:
    """Every turn between two markers, which are Jinja expressions."""
    header = f"{{'system': {system}, 'user': {user}, 'assistant': {assistant}}}[m['role']]"
    return f"{_EACH}{{{{ {header} + m['content'] + {end} }}}}{_DONE}{{{{ {assistant} }}}}{_END}"


def _folded(begin: str, system: str, answer: str, end: str) -> str:
    """The system text, written as `system` has TEXT, begins the first user turn."""
    after, system = "loop.index0 and messages[loop.index0 - 1]['role'] == 'system'", system.replace("TEXT", "m['content']")
    return (
        f"{_EACH}{{% if m['role'] == 'assistant' %}}{{{{ {answer} + m['content'] + {end} }}}}"
        f"{{% elif m['role'] == 'system' %}}{{{{ {begin} + {system} }}}}"
        f"{{% else %}}{{{{ ('' if {after} else {begin}) + m['content'] }}}}{{% endif %}}{_DONE}{{{{ {answer} }}}}{_END}"
    )


BUILT_IN = {
    "chatml": "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "llama-3": "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content']"
    " + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    "qwen-3": _marked(r"'<|im_start|>system\n'", r"'<|im_start|>user\n'", r"'<|im_start|>assistant\n<think>\n\n</think>\n\n'",
                      r"'<|im_end|>\n'"),
    "gemma": _folded(r"'<start_of_turn>user\n'", r"TEXT + '\n\n'", r"'<end_of_turn>\n<start_of_turn>model\n'", r"'<end_of_turn>\n'"),
    "gemma-4": _marked(r"'<|turn>system\n'", r"'<|turn>user\n'", r"'<|turn>model\n<|channel>thought\n<channel|>'", r"'<turn|>\n'"),
    "phi-3": _marked(r"'<|system|>\n'", r"'<|user|>\n'", r"'<|assistant|>\n'", r"'<|end|>\n'"),
    "phi-4": _marked("'<|im_start|>system<|im_sep|>'", "'<|im_start|>user<|im_sep|>'", "'<|im_start|>assistant<|im_sep|>'", "'<|im_end|>'"),
    "granite": _marked("'<|start_of_role|>system<|end_of_role|>'", "'<|start_of_role|>user<|end_of_role|>'",
                       "'<|start_of_role|>assistant<|end_of_role|>'", r"'<|end_of_text|>\n'"),
    "command-r": _marked("'<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>'", "'<|START_OF_TURN_TOKEN|><|USER_TOKEN|>'",
                         "'<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>'", "'<|END_OF_TURN_TOKEN|>'"),
    "gpt-oss": _marked("'<|start|>system<|message|>'", "'<|start|>user<|message|>'", "'<|start|>assistant<|channel|>final<|message|>'",
                       "'<|end|>'"),
    "deepseek": _marked("''", "'<｜User｜>'", "'<｜Assistant｜>'", "('<｜end▁of▁sentence｜>' if m['role'] == 'assistant' else '')"),
    "mistral": _folded("'[INST] '", r"TEXT + '\n\n'", "'[/INST] '", "eos_token"),
    "llama-2": _folded("'[INST] '", r"'<<SYS>>\n' + TEXT + '\n<</SYS>>\n\n'", "' [/INST] '", "' ' + eos_token + bos_token"),
    "zephyr": _marked(r"'<|system|>\n'", r"'<|user|>\n'", r"'<|assistant|>\n'", r"eos_token + '\n'"),
    "vicuna": _marked("''", "' USER: '", "' ASSISTANT: '", "(eos_token if m['role'] == 'assistant' else '')"),
    "alpaca": _marked("''", r"'### Instruction:\n'", r"'### Response:\n'", r"(eos_token if m['role'] == 'assistant' else '') + '\n\n'"),
}  # fmt: skip
"""Name → Jinja text. The first that works with a vocabulary is the one advised, so the last are those that need no marker of their own."""
