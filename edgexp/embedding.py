"""Texts to unit vectors, with onnxruntime. Knows nothing of what the texts mean, nor where the encoder's files come from.

What a folder with an encoder holds is defined in `edgexp.models.encoder`. A text's vector does not depend on what it was encoded
together with (to 1e-5), so a stored vector and a fresh one compare.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgexp.errors import EdgexpError
from edgexp.models import DEFAULT_EMBEDDER, encoder, resolve
from edgexp.models.encoder import EncoderConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BATCH_TOKENS = 2048
"""Padded tokens in one run of the model: bounds memory; larger batches are no faster on a processor."""


class Encoder:
    """An encoder that is loaded and ready. `open` is the way to get one."""

    name: str
    """What people call it."""
    id: str
    """`e` and 24 hexadecimal digits: the identity of weights, tokenizer and pooling. Vectors of different ids do not compare."""
    dimensions: int
    max_tokens: int
    """Longer texts keep their front; special tokens are counted in."""

    def __init__(self, folder: Path, name: str, config: EncoderConfig, tokenizer: Any, session: Any) -> None:
        self.name = name
        self.id = "e" + encoder.fingerprint_of(folder)[:24]
        self.dimensions = config.dimensions
        self.max_tokens = config.max_tokens
        self._graph = folder / config.graph
        self._config = config
        self._tokenizer = tokenizer
        self._session = session
        self._specials: int = tokenizer.num_special_tokens_to_add(False)

    @classmethod
    def open(cls, folder: Path, threads: int = 1, name: str = "") -> "Encoder":
        """Load the encoder in `folder`, to run on `threads` threads that sleep between calls; `name` is the folder's by default.

        Raises EdgexpError when a file is missing or is not what it should be.
        """
        config = encoder.read(folder)
        tokenizer = _tokenizer(folder / config.tokenizer, config.max_tokens)
        return cls(folder, name or folder.name, config, tokenizer, _session(folder / config.graph, config, threads))

    def encode(
        self, texts: Sequence[str], *, query: bool = False, progress: Callable[[int], None] | None = None
    ) -> "NDArray[np.float32]":
        """Unit vectors of `texts`, float32 [len(texts), dimensions], in their order.

        `query` puts the model's query prefix before each. `progress` is told how many texts were just encoded.
        """
        import numpy as np

        prefix = self._config.query_prefix if query else ""
        tokens = [self._tokenizer.encode(prefix + text).ids or [0] for text in texts]
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        for batch in _batches([len(ids) for ids in tokens], self._config.batch):
            vectors[batch] = self._embed([tokens[index] for index in batch])
            if progress:
                progress(len(batch))
        return vectors

    def count(self, text: str, *, query: bool = False) -> int:
        """Tokens of `text`, with special tokens and what lies over `max_tokens`, and for a `query` with its prefix."""
        encoding = self._tokenizer.encode((self._config.query_prefix if query else "") + text)
        return len(encoding.ids) + sum(len(part.ids) - self._specials for part in encoding.overflowing)

    def _embed(self, tokens: list[list[int]]) -> "NDArray[np.float32]":
        """One run of the model: token ids of several texts to unit vectors [len(tokens), dimensions]."""
        import numpy as np

        mask = np.zeros((len(tokens), max(map(len, tokens))), np.int64)
        ids = np.zeros_like(mask)
        for row, text in enumerate(tokens):
            ids[row, : len(text)] = text
            mask[row, : len(text)] = 1
        pooled = _pooled(self._run(ids, mask), mask, self._config.pooling)
        if pooled.shape != (len(tokens), self.dimensions):
            raise EdgexpError(f"{self._graph} gave vectors of shape {pooled.shape}, {(len(tokens), self.dimensions)} were expected")
        lengths = np.linalg.norm(pooled, axis=1, keepdims=True)
        if not (np.isfinite(lengths).all() and (lengths > 0).all()):
            raise EdgexpError(f"{self._graph} gave a vector without a direction (NaN or zero): the weights are damaged")
        unit: NDArray[np.float32] = (pooled / lengths).astype(np.float32)
        return unit

    def _run(self, ids: "NDArray[np.int64]", mask: "NDArray[np.int64]") -> "NDArray[np.float32]":
        import numpy as np

        known = {
            "input_ids": ids,
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(ids),
            "position_ids": np.maximum(mask.cumsum(axis=1) - 1, 0),
        }
        try:
            output: NDArray[np.float32] = self._session.run([self._config.output], {name: known[name] for name in self._config.inputs})[0]
        except Exception as error:  # onnxruntime raises its own classes, of no common base
            raise EdgexpError(f"{self._graph} did not run: {_first_line(error)}") from error
        return output


def open_encoder(name: str = DEFAULT_EMBEDDER, say: Callable[[str], None] = lambda _: None) -> Encoder:
    """An encoder by a manifest's name or a folder's path, checked and loaded. Raises EdgexpError where it is not on this machine."""
    ready = resolve(name, role="embedder", say=say)
    return Encoder.open(ready.path, name=ready.name)


def _pooled(output: "NDArray[np.float32]", mask: "NDArray[np.int64]", pooling: str) -> "NDArray[np.float32]":
    """A vector for each text: the graph's own, or made of its token vectors [n, t, dimensions]. Padding is on the right."""
    import numpy as np

    if pooling == "done":
        return output
    if pooling == "mean":
        total: NDArray[np.float32] = (output * mask[:, :, None]).sum(axis=1)  # unit length comes after: no need to divide
        return total
    chosen: NDArray[np.float32] = output[np.arange(len(mask)), 0 if pooling == "cls" else mask.sum(axis=1) - 1]
    return chosen


def _batches(lengths: list[int], limit: int) -> Iterator[list[int]]:
    """Indices grouped by similar length, longest first, so that padding is little; `limit` texts in one at most, 0 for any number."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    while order:
        size = max(1, _BATCH_TOKENS // lengths[order[0]])
        size = min(size, limit) if limit else size
        yield order[:size]
        order = order[size:]


def _tokenizer(path: Path, max_tokens: int) -> Any:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise EdgexpError(f"{path} is not a tokenizer: {_first_line(error)}") from error
    # Files from the hub often carry fixed padding and a shorter limit baked in: neither may reach a vector.
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


def _session(path: Path, config: EncoderConfig, threads: int) -> Any:
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # shapes vary: the arena would keep the largest of each for good
    options.log_severity_level = 4
    # Threads that spin between runs would take the cores from the engine's decoding.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises its own classes, of no common base
        raise EdgexpError(f"{path} is not a model onnxruntime can load: {_first_line(error)}") from error
    has = {argument.name for argument in [*session.get_inputs(), *session.get_outputs()]}
    missing = {*config.inputs, config.output} - has
    if missing:
        raise EdgexpError(f"{path} has no {' and no '.join(sorted(missing))}: it does not fit the encoder.json beside it")
    unknown = set(config.inputs) - {"input_ids", "attention_mask", "token_type_ids", "position_ids"}
    if unknown:
        raise EdgexpError(f"{path.parent / encoder.NAME}: inputs: nobody knows what to give to {' and '.join(sorted(unknown))}")
    return session


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
