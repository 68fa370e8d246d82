"""Matrices against plain numpy, and graphs that have to prove themselves."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bank_samples import WordEncoder, trajectories
from hypothesis import given
from hypothesis import strategies as st

from edgexp.bank import Bank, neighbours
from edgexp.bank.neighbours import Delta, Graph, Matrix, matrix_size, measure_recall, write_graph, write_matrix
from edgexp.bank.sealed import Filled, Seal

ROWS = st.lists(st.integers(1, 10**12), min_size=1, max_size=70, unique=True).map(sorted)


def unit(count: int, dimensions: int, seed: int = 0) -> np.ndarray:
    """Unit vectors [count, dimensions], f16."""
    vectors = np.random.default_rng(seed).normal(size=(count, dimensions))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def seal(filled: Filled, dimensions: int, path: Path) -> Seal:
    """A seal of a file, as far as mapping looks at it."""
    return Seal(1, "", "b", "e", "task", dimensions, filled.count, filled.last_row, "t", path.stat().st_size, "")


def same(one: Matrix, other: Matrix) -> bool:
    return np.array_equal(one.rows, other.rows) and np.array_equal(one.vectors, other.vectors)


@given(ROWS, st.integers(1, 40), st.integers(1, 70))
def test_what_is_written_is_mapped(tmp_path_factory: pytest.TempPathFactory, rows: list[int], dimensions: int, at_once: int) -> None:
    """Whatever the number of vectors, their width, and the parts they come in."""
    path = tmp_path_factory.mktemp("matrix") / "file"
    whole = Matrix(np.array(rows, np.int64), unit(len(rows), dimensions))
    parts = [(whole.rows[n : n + at_once], whole.vectors[n : n + at_once]) for n in range(0, len(rows), at_once)]
    filled = write_matrix(path, parts)
    assert filled == Filled(len(rows), rows[-1])
    made = seal(filled, dimensions, path)
    assert matrix_size(made) == path.stat().st_size
    again = Matrix.map(path, made)
    assert same(again, whole) and len(again) == len(rows) and again.last_row == rows[-1]


@given(ROWS, st.integers(0, 10**12 + 1))
def test_after_a_row_is_what_is_above_it(rows: list[int], row: int) -> None:
    whole = Matrix(np.array(rows, np.int64), unit(len(rows), 3))
    for limit in (row, rows[0], rows[len(rows) // 2], rows[-1]):
        part = whole.after(limit)
        assert part.rows.tolist() == [other for other in rows if other > limit]
        assert same(whole.at(part.rows), part)


@given(ROWS, st.lists(st.integers(1, 10**12), max_size=20))
def test_rows_that_are_not_there_are_passed_over(rows: list[int], others: list[int]) -> None:
    whole = Matrix(np.array(rows, np.int64), unit(len(rows), 3))
    wanted = {*others, *rows[::3]}
    found = whole.at(np.array(list(wanted), np.int64))
    assert found.rows.tolist() == sorted(wanted & set(rows))
    assert all(np.array_equal(vector, whole.vectors[rows.index(row)]) for row, vector in zip(found.rows, found.vectors, strict=True))


@given(st.lists(st.integers(1, 90), min_size=1, max_size=12))
def test_a_delta_grows_by_any_steps(steps: list[int]) -> None:
    vectors, delta = unit(sum(steps), 5), Delta(5)
    assert len(delta.matrix) == 0 and delta.matrix.last_row == 0
    done = 0
    for step in steps:
        held = delta.matrix  # what somebody still reads must not change under them
        before = held.vectors.copy()
        delta.extend(np.arange(done + 1, done + step + 1), vectors[done : done + step])
        done += step
        assert np.array_equal(held.vectors, before)
        assert same(delta.matrix, Matrix(np.arange(1, done + 1), vectors[:done])) and delta.matrix.last_row == done


@given(st.integers(0, 200), st.integers(1, 400), st.integers(0, 2**32 - 1))
def test_scores_are_dot_products(count: int, dimensions: int, seed: int) -> None:
    vectors, query = unit(count, dimensions, seed), unit(1, dimensions, seed + 1)[0]
    scores = Matrix(np.arange(count), vectors).scores(query.astype(np.float32))
    assert scores.dtype == np.float64 and scores.shape == (count,)
    np.testing.assert_allclose(scores, vectors.astype(np.float64) @ query.astype(np.float64), atol=1e-5)


@given(st.integers(2, 200), st.integers(0, 2**32 - 1), st.data())
def test_a_score_depends_on_nothing_but_its_two_vectors(count: int, seed: int, data: st.DataObject) -> None:
    """Bit by bit the same among others and alone: two indexes over the same vectors rank alike."""
    whole, query = Matrix(np.arange(count), unit(count, 48, seed)), unit(1, 48, seed + 1)[0].astype(np.float32)
    some = np.array(sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1))))
    assert np.array_equal(whole.scores(query)[some], whole.at(some).scores(query))


def test_the_library_is_named_with_its_version() -> None:
    name, version = neighbours.graph_library().split()
    assert name == "usearch" and version[0].isdigit()


@pytest.mark.slow
def test_a_graph_has_to_prove_itself(tmp_path: Path) -> None:
    """In a star every vector is nearer to the middle one than to any other, and HNSW loses nearly all of them."""
    rng = np.random.default_rng(0)
    rays = rng.normal(size=(3000, 384))
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    middle = np.eye(384)[0]
    star = middle + 0.5 * rays
    star[0] = middle
    loose = rng.normal(size=(3000, 16)) @ rng.normal(size=(16, 384))
    for name, vectors, good in (("star", star, False), ("loose", loose, True)):
        whole = Matrix(np.arange(1, 3001), (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16))
        filled = write_graph(tmp_path / name, whole, None)
        assert filled == Filled(3000 if good else 0, 3000), name


@pytest.mark.slow
def test_a_graph_grows_by_what_is_new(tmp_path: Path) -> None:
    """Adding 200 to 800 adds 200, and what comes of it finds as much as one that was made at once."""
    whole = Matrix(np.arange(1, 1001), unit(1000, 24))
    first = write_graph(tmp_path / "old", Matrix(whole.rows[:800], whole.vectors[:800]), None)
    told: list[tuple[int, int]] = []
    old = tmp_path / "old", seal(first, 24, tmp_path / "old")
    filled = write_graph(tmp_path / "new", whole, old, lambda done, total: told.append((done, total)))
    assert filled == Filled(1000, 1000) and told == [(200, 200)]
    graph = Graph.map(tmp_path / "new", seal(filled, 24, tmp_path / "new"))
    assert graph.last_row == 1000 and measure_recall(graph, whole) > 0.95
    assert set(graph.near(whole.vectors[5].astype(np.float32), 10).tolist()) <= set(range(1, 1001))


@pytest.mark.slow
def test_recall_is_the_share_of_the_ten_nearest(tmp_path: Path) -> None:
    """A graph over half of the vectors finds about half of the nearest."""
    whole = Matrix(np.arange(1, 1001), unit(1000, 24))
    half = Matrix(whole.rows[::2], whole.vectors[::2])
    filled = write_graph(tmp_path / "half", half, None)
    share = measure_recall(Graph.map(tmp_path / "half", seal(filled, 24, tmp_path / "half")), whole)
    assert 0.4 < share < 0.65


@pytest.mark.slow
def test_a_graph_and_the_encoder_live_in_one_process(tmp_path: Path, encoder_folder: Path) -> None:
    """USearch loaded before onnxruntime makes it crash on import: nothing here may ever load them in that order."""
    with Bank.open(tmp_path / "bank", WordEncoder(), exact_limit=50) as bank:
        bank.add(trajectories(100))
        bank._indexes.snapshot(1)
    code = """if True:
        import sys
        from pathlib import Path
        from bank_samples import WordEncoder
        from edgexp.bank import Bank
        from edgexp.embedding import Encoder
        with Bank.open(Path(sys.argv[1]), WordEncoder(), readonly=True, exact_limit=50) as bank:
            print(len(bank.search("task", "a mug", 3)), "usearch.index" in sys.modules)
        print(len(Encoder.open(Path(sys.argv[2])).encode(["a mug"])))
    """
    paths = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-c", code, str(tmp_path / "bank"), str(encoder_folder)]
    assert subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split() == ["3", "True", "1"]
