"""The encoder with the real model, and with small broken folders."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from edgexp.embedding import Encoder, _batches, _pooled
from edgexp.errors import EdgexpError

TEXTS = [
    "put a clean mug on the shelf",
    "Put a clean cup on the shelf.",
    "heat an egg and place it on the table",
    "",
    "You are in the middle of a room. Looking around you, you see " + ", ".join(f"a cabinet {n}" for n in range(1, 60)),
]


def test_vectors_are_unit_and_mean_something(encoder: Encoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (5, encoder.dimensions) == (5, 384) and vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    like = vectors @ vectors.T
    assert like[0, 1] > 0.8 > like[0, 2] + 0.2
    assert encoder.encode([]).shape == (0, 384)


def test_similarities_are_those_the_model_is_known_for(encoder: Encoder) -> None:
    """The example in the documentation of the model's own library, to its four digits."""
    vectors = encoder.encode(["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."])
    assert (vectors @ vectors.T)[np.triu_indices(3, 1)] == pytest.approx([0.6660, 0.1046, 0.1411], abs=1e-4)


def test_a_vector_does_not_depend_on_its_batch(encoder: Encoder) -> None:
    words = ["go", "to", "the", "shelf", "and", "take", "a", "red", "mug", "from", "drawer", "3"]
    texts = [" ".join(random.Random(n).choices(words, k=1 + 3 * n)) for n in range(70)]
    together = encoder.encode(texts)
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    shuffled = random.Random(1).sample(range(70), 70)
    assert np.abs(together - alone).max() < 1e-5
    assert np.abs(together[shuffled] - encoder.encode([texts[index] for index in shuffled])).max() < 1e-5


def test_too_long_texts_keep_their_front(encoder: Encoder) -> None:
    long = "go to shelf 1 " * 300
    assert encoder.max_tokens == 256
    assert encoder.count(long) == 4 * 300 + 2
    front, other = encoder.encode([long, long + "and something else entirely about the weather"])
    assert np.array_equal(front, other)
    exactly = " ".join(["shelf"] * 254)
    assert encoder.count(exactly) == 256
    assert not np.allclose(*encoder.encode([exactly, " ".join(["shelf"] * 128)]), atol=1e-3), "a limit of 128 is baked into the file"


def test_identity_is_of_the_files_and_not_of_the_place(encoder: Encoder, encoder_folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(encoder_folder, tmp_path / "elsewhere"))
    assert Encoder.open(copy, threads=2).id == encoder.id
    assert encoder.id.startswith("e") and len(encoder.id) == 25


def test_progress_counts_every_text(encoder: Encoder) -> None:
    seen: list[int] = []
    encoder.encode(TEXTS * 9, progress=seen.append)
    assert sum(seen) == 45


@pytest.mark.parametrize("harm", ["no folder", "no model", "no tokenizer", "bad model", "bad tokenizer", "bad settings", "wrong output"])
def test_a_folder_that_is_no_encoder_is_one_clear_line(harm: str, encoder_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    if harm != "no folder":
        shutil.copytree(encoder_folder, folder)
    {
        "no folder": lambda: None,
        "no model": lambda: (folder / "model.onnx").unlink(),
        "no tokenizer": lambda: (folder / "tokenizer.json").unlink(),
        "bad model": lambda: (folder / "model.onnx").write_bytes(b"not a model" * 100),
        "bad tokenizer": lambda: (folder / "tokenizer.json").write_text("{}"),
        "bad settings": lambda: (folder / "encoder.json").write_text('{"pooling": "max"}'),
        "wrong output": lambda: (folder / "encoder.json").write_text('{"dimensions": 384, "max_tokens": 256, "output": "nothing"}'),
    }[harm]()
    with pytest.raises(EdgexpError) as caught:
        Encoder.open(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_pooling_reads_the_tokens_and_never_the_padding() -> None:
    output = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    mask = np.array([[1, 1, 0], [1, 1, 1]])
    assert np.array_equal(_pooled(output, mask, "last"), [output[0, 1], output[1, 2]])
    assert np.array_equal(_pooled(output, mask, "cls"), output[:, 0])
    assert np.array_equal(_pooled(output, mask, "mean"), [output[0, :2].sum(0), output[1].sum(0)])


def test_batches_hold_everything_once_and_keep_to_their_limits() -> None:
    lengths = [random.Random(n).randint(1, 256) for n in range(500)]
    for limit in (0, 1, 7):
        batches = list(_batches(lengths, limit))
        assert sorted(index for batch in batches for index in batch) == list(range(500))
        assert all(len(batch) * max(lengths[index] for index in batch) <= 2048 for batch in batches)
        assert not limit or max(map(len, batches)) <= limit
