"""The prepared dataset: what is written is read, and what is damaged is noticed."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgexp.errors import EdgexpError
from edgexp.training import prepared
from edgexp.training.prepared import Samples


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


def one(folder: Path, ids: list[int], spans: list[tuple[int, int]]) -> None:
    samples = Samples()
    samples.add(ids, spans)
    prepared.read_set(folder, prepared.write(folder, {"train": samples}, vocabulary=10), "train")


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
