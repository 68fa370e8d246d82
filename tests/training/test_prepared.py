"""The prepared dataset: what is written is read, and what is damaged is noticed."""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from edgexp.errors import EdgexpError
from edgexp.prompt.messages import Layout
from edgexp.training import prepared
from edgexp.training.prepared import Dataset, Samples, Statistics, count_figures, padding_of_epoch
from edgexp.training.recipe import Train


@st.composite
def sample(draw: st.DrawFn) -> tuple[list[int], list[tuple[int, int]]]:
    ids = draw(st.lists(st.integers(0, 99), min_size=3, max_size=40))
    edges = sorted(draw(st.sets(st.integers(1, len(ids)), min_size=2, max_size=6)))
    return ids, list(zip(edges[::2], edges[1::2], strict=False))


@settings(max_examples=30, deadline=None)
@given(st.lists(sample(), max_size=5))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, content: list[tuple[list[int], list[tuple[int, int]]]]) -> None:
    folder, samples = tmp_path_factory.mktemp("data"), Samples()
    for ids, spans in content:
        samples.add(ids, spans)
    made = prepared.write(folder, {"train": samples, "valid-none": Samples()}, vocabulary=100, bank=("b1",))
    assert prepared.read(folder) == made and made.held_out == ["valid-none"]
    again = prepared.read_set(folder, made, "train")
    assert [i.tolist() for i in again.ids] == [ids for ids, _ in content]
    assert [s.tolist() for s in again.spans] == [[list(span) for span in spans] for _, spans in content]
    assert [again.labels(n).tolist() for n in range(len(again))] == [[i for a, b in spans for i in range(a, b)] for _, spans in content]
    assert len(prepared.read_set(folder, made, "valid-none")) == 0


def one(folder: Path, ids: list[int], spans: list[tuple[int, int]], blocks: Sequence[tuple[int, int]] = (),
        layout: Layout = "chained") -> Samples:
    samples = Samples()
    samples.add(ids, spans, blocks)
    return prepared.read_set(folder, prepared.write(folder, {"train": samples}, vocabulary=10, layout=layout), "train")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(1, 6), max_size=4), min_size=1, max_size=5))
def test_blocks_that_are_written_are_read(tmp_path_factory: pytest.TempPathFactory, content: list[list[int]]) -> None:
    folder, samples = tmp_path_factory.mktemp("data"), Samples()
    for lengths in content:
        edges = [2 + sum(lengths[:n]) for n in range(len(lengths) + 1)]
        samples.add(list(range(50)), [(40, 42)], list(pairwise(edges)))
    again = prepared.read_set(folder, prepared.write(folder, {"train": samples}, vocabulary=100, layout="apart"), "train")
    assert [b.tolist() for b in again.blocks] == [b.tolist() for b in samples.blocks]
    assert all(b.dtype == np.int64 and b.shape == (len(lengths), 2) for b, lengths in zip(again.blocks, content, strict=True))


def test_folders_of_before_there_were_blocks_are_read(tmp_path: Path) -> None:
    """And a set without any is the file that it was then, byte for byte."""
    one(tmp_path, [1, 2, 3], [(1, 2)])
    path, record = tmp_path / "train.safetensors", tmp_path / prepared.RECORD
    assert sorted(safetensors.numpy.load_file(path)) == ["id_counts", "ids", "span_counts", "spans"]
    plain = json.loads(record.read_bytes())
    assert plain.pop("layout") == "chained"
    record.write_text(json.dumps(plain))
    samples = prepared.read_set(tmp_path, prepared.read(tmp_path), "train")
    assert samples.blocks[0].shape == (0, 2) and prepared.read(tmp_path).layout == "chained"


@pytest.mark.parametrize(("blocks", "layout"), [
    ([(1, 3)], "chained"),
    ([(0, 3)], "apart"),
    ([(1, 6)], "apart"),
    ([(1, 7)], "apart"),
    ([(1, 2), (3, 4)], "apart"),
    ([(2, 4), (1, 2)], "apart"),
    ([(2, 2)], "apart"),
    ([(1, 3), (2, 4)], "apart"),
])
def test_unsound_blocks_are_refused(tmp_path: Path, blocks: list[tuple[int, int]], layout: Layout) -> None:
    with pytest.raises(EdgexpError, match="sample 0 has blocks of memory where there can be none"):
        one(tmp_path, list(range(9)), [(6, 8)], blocks, layout)
    assert len(one(tmp_path, list(range(9)), [(6, 8)], [(1, 3), (3, 5)], "apart").blocks[0]) == 2


@pytest.mark.parametrize(("ids", "spans", "said"), [
    ([1, 2, 3], [], "no labels"),
    ([1, 2, 3], [(0, 2)], "labels outside"),
    ([1, 2, 3], [(1, 4)], "labels outside"),
    ([1, 2, 3], [(2, 2)], "no labels"),
    ([1, 2, 3, 4], [(2, 4), (1, 2)], "labels"),
    ([1, 2, 10], [(1, 2)], "outside the vocabulary of 10"),
    ([1, -2, 3], [(1, 2)], "outside the vocabulary"),
])
def test_unsound_samples_are_refused(tmp_path: Path, ids: list[int], spans: list[tuple[int, int]], said: str) -> None:
    with pytest.raises(EdgexpError, match=f"sample 0.*{said}"):
        one(tmp_path, ids, spans)


def test_damage_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(EdgexpError, match="not a prepared dataset"):
        prepared.read(tmp_path)
    one(tmp_path, [1, 2, 3], [(1, 2)])
    record, path = prepared.read(tmp_path), tmp_path / "train.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(EdgexpError, match=r"not the file that dataset\.json means"):
        prepared.read_set(tmp_path, record, "train")
    path.unlink()
    with pytest.raises(EdgexpError, match="cannot be read"):
        prepared.read_set(tmp_path, record, "train")
    (tmp_path / prepared.RECORD).write_bytes(b'{"sets": 3}')
    with pytest.raises(EdgexpError, match="cannot be read"):
        prepared.read(tmp_path)


# Damage


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_byte_that_is_another_is_noticed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("data")
    one(folder, [1, 2, 3, 4], [(1, 2), (3, 4)])
    path = folder / "train.safetensors"
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with pytest.raises(EdgexpError, match=r"is not the file that dataset\.json means; prepare the dataset again"):
        prepared.read_set(folder, prepared.read(folder), "train")


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 400))
def test_a_record_that_was_cut_short_is_refused_in_words(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    folder = tmp_path_factory.mktemp("data")
    one(folder, [1, 2, 3], [(1, 2)])
    path = folder / prepared.RECORD
    whole = path.read_bytes()
    path.write_bytes(whole[: min(length, len(whole) - 1)])
    with pytest.raises(EdgexpError, match=r"dataset\.json cannot be read: "):
        prepared.read(folder)


@pytest.mark.parametrize(("change", "said"), [
    ({"format": 2}, "has format 2, this edgexp reads 1; prepare it again"),
    ({"format": 0}, "cannot be read"),
    ({"vocabulary": "many"}, "cannot be read"),
    ({"surprise": 1}, "cannot be read"),
    ({"sets": ["train"]}, "cannot be read"),
])  # fmt: skip
def test_a_record_that_says_something_else_is_refused(tmp_path: Path, change: dict[str, object], said: str) -> None:
    one(tmp_path, [1, 2, 3], [(1, 2)])
    path = tmp_path / prepared.RECORD
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **change}))
    with pytest.raises(EdgexpError, match=said):
        prepared.read(tmp_path)


def test_the_record_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dataset that is written over another one and dies on the way is none, not half of each."""
    one(tmp_path, [1, 2, 3], [(1, 2)])

    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prepared, "_write_set", full)
    with pytest.raises(OSError, match="No space left"):
        prepared.write(tmp_path, {"train": Samples()}, vocabulary=10)
    with pytest.raises(EdgexpError, match="not a prepared dataset"):
        prepared.read(tmp_path)


def test_samples_keep_their_types(tmp_path: Path) -> None:
    one(tmp_path, [1, 2, 3], [(1, 2)])
    samples = prepared.read_set(tmp_path, prepared.read(tmp_path), "train")
    assert samples.ids[0].dtype == np.int32 and samples.spans[0].dtype == np.int64 and samples.spans[0].shape == (1, 2)


def test_held_out_sets_come_in_their_order() -> None:
    made = Dataset({"train": "", "valid-matched": "", "valid-none": ""}, 10)
    assert made.held_out == ["valid-matched", "valid-none"]
    assert Dataset({"train": ""}, 10).held_out == []


# Figures


@given(st.lists(sample(), min_size=1, max_size=30))
def test_figures_are_what_counting_gives(content: list[tuple[list[int], list[tuple[int, int]]]]) -> None:
    samples = Samples()
    for ids, spans in content:
        samples.add(ids, spans)
    made, lengths = count_figures(samples), np.array([len(ids) for ids, _ in content])
    assert (made.samples, made.tokens, made.shortest, made.longest) == (len(content), lengths.sum(), lengths.min(), lengths.max())
    assert made.actions == sum(len(spans) for _, spans in content)
    assert made.labels == sum(b - a for _, spans in content for a, b in spans) == sum(len(samples.labels(n)) for n in range(len(samples)))
    assert (lengths <= made.median).mean() >= 0.5 <= (lengths >= made.median).mean()
    assert (lengths <= made.ninety).mean() >= 0.9 and made.ninety in lengths


def test_figures_of_nothing_are_nothing() -> None:
    assert set(vars_of(count_figures(Samples()))) == {0}
    assert padding_of_epoch([], Train(), 0) == 0


def vars_of(figures: prepared.Figures) -> list[int]:
    return [getattr(figures, name) for name in figures.__struct_fields__]


@given(st.lists(st.integers(1, 4000), min_size=1, max_size=80), st.integers(0, 3))
def test_padding_is_told_as_a_gpu_would_take_the_samples(lengths: list[int], seed: int) -> None:
    share = padding_of_epoch(lengths, Train(), seed)
    assert 0 <= share < 1 and padding_of_epoch([7] * len(lengths), Train(), seed) == 0
    assert padding_of_epoch(lengths, Train(tokens_at_once=1), seed) == 0  # one at a time
    assert share == padding_of_epoch(lengths, Train(tokens_at_once=prepared.GPU_TOKENS), seed)


def printed(statistics: Statistics) -> str:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(statistics)
    return capture.get()


def test_statistics_say_only_what_there_is_to_say() -> None:
    plain = printed(Statistics(trajectories=1200, conditions={"matched": 900, "absent": 0}))
    assert "1,200" in plain and "900 matched" in plain
    assert not any(word in plain for word in ("absent", "too long", "kin of", "found nothing", "remembered", "left out"))
    full = Statistics(1200, {"train": count_figures(Samples())}, {"matched": 5}, empty=3, remembered=9, alike=0.5, dropped=2, skipped=4,
                      kept_out=6, padding=0.0321)
    text = printed(full)
    for words in ("4 of them too long", "6, kin of held-out ones", "found nothing that fits", "9, 2 left out for want of room", "50%",
                  "3.2%"):
        assert words in text, words
