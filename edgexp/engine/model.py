"""A GGUF model in memory: opens the file, answers what it is. Knows nothing of sequences (`engine.py`) or prompts.

Opening checks the file's shape before llama.cpp maps it, because a truncated file can kill the process instead of raising.
"""

import ctypes
from pathlib import Path
from typing import Literal

from edgexp.engine import native
from edgexp.engine.native import Tuning, chat_template, named_templates, open_native
from edgexp.engine.tokenizer import Vocabulary
from edgexp.errors import EdgexpError
from edgexp.gguf.lora import LAYOUT_KEY, PROMPT_KEY


class Model:
    """Weights and vocabulary of one GGUF file, mapped into memory. Use as a context manager, or call `close`."""

    def __init__(self, path: Path, tuning: Tuning | None = None, gpu_layers: int = 0):
        self.path, self.gpu_layers = path, gpu_layers
        self.tuning = tuning or Tuning()
        self._lib = native.load(self.tuning)
        self.handle = open_native(path, tuning=self.tuning, gpu_layers=gpu_layers)
        try:
            self._check_writes()
            self.vocabulary = Vocabulary(self.handle)
        except BaseException:
            self.close()
            raise

    def _check_writes(self) -> None:
        """Raise EdgexpError for a model that does not write text from left to right; evaluating one as if it did can abort the process."""
        what = ""
        if self._lib.llama_model_has_encoder(self.handle):
            what = "an encoder with a decoder (such as T5)" if self._lib.llama_model_has_decoder(self.handle) else "an embedding model"
        elif not self._lib.llama_model_has_decoder(self.handle):
            what = "an embedding model"
        elif self._lib.llama_model_is_diffusion(self.handle):
            what = "a diffusion model, which writes all of a text at once"
        elif self._about("attention.causal", "true") == "false" or self._about("pooling_type", "0") != "0":
            what = "an embedding model"
        if what:
            raise EdgexpError(f"{self.path} is {what}; edgexp plays models that write text token by token: name one with --model")

    def _about(self, key: str, default: str) -> str:
        return self.metadata(f"{self.metadata('general.architecture')}.{key}") or default

    @property
    def recurrent(self) -> bool:
        """Whether any layer keeps a state in place of what it saw (Mamba, LFM2, Granite 4.0-h): it cannot be taken back in part."""
        return bool(self._lib.llama_model_is_recurrent(self.handle) or self._lib.llama_model_is_hybrid(self.handle))

    @property
    def can_share(self) -> bool:
        """Whether sequences can share blocks that do not see each other: there is a cell for every token, none forgotten by itself, and a
        token has one position."""
        rope = self._lib.llama_model_rope_type(self.handle)
        several = (self._lib.LLAMA_ROPE_TYPE_MROPE, self._lib.LLAMA_ROPE_TYPE_IMROPE, self._lib.LLAMA_ROPE_TYPE_VISION)
        return not self.recurrent and self._lib.llama_model_n_swa(self.handle) == 0 and rope not in several

    @property
    def template(self) -> str | None:
        """The chat template (Jinja) inside the file."""
        return chat_template(self.handle)

    @property
    def templates(self) -> dict[str, str]:
        """The chat templates that the file holds beside that one, by their names."""
        return named_templates(self.handle)

    @property
    def trained_context(self) -> int:
        """Tokens of context the model was trained for."""
        return int(self._lib.llama_model_n_ctx_train(self.handle))

    @property
    def description(self) -> str:
        """Architecture, size and quantisation as llama.cpp words them, for example `llama 134.52 M Q8_0`."""
        buffer = ctypes.create_string_buffer(256)
        self._lib.llama_model_desc(self.handle, buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace")

    def metadata(self, key: str) -> str | None:
        """A value of the file's own metadata as text, None where the key is absent."""
        buffer = ctypes.create_string_buffer(4096)
        length = self._lib.llama_model_meta_val_str(self.handle, key.encode(), buffer, len(buffer))
        return None if length < 0 else buffer.value.decode("utf-8", "replace")

    @property
    def prompt(self) -> int | None:
        """The version of the prompt's words that edgexp trained the model with; None for a model that it did not train."""
        version = self.metadata(PROMPT_KEY) or ""
        return int(version) if version.isdecimal() else None

    @property
    def layout(self) -> Literal["chained", "apart"]:
        """How memory stands in the prompts that the model was trained on; chained for a model that does not say."""
        return "apart" if self.metadata(LAYOUT_KEY) == "apart" else "chained"

    def close(self) -> None:
        """Free the weights; closing twice is fine."""
        if self.handle is not None:
            self._lib.llama_model_free(self.handle)
            self.handle = None

    def __enter__(self) -> "Model":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
