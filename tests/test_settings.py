"""Settings: every Struct of recipes and suites is shown as TOML that reads back as the same, and every key of it can be changed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import msgspec
import msgspec.inspect as inspect
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgexp import settings
from edgexp.errors import EdgexpError, UsageError
from edgexp.evaluation.suite import Suite
from edgexp.training.recipe import Mix, Recipe

LARGEST = 2**53
LISTS = ("data", "tasks", "conditions")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def structs_in(kind: Any) -> Iterator[type]:
    """A Struct and every Struct inside it."""
    info = kind if isinstance(kind, inspect.Type) else inspect.type_info(kind)
    if isinstance(info, inspect.StructType):
        yield info.cls
        for field in info.fields:
            yield from structs_in(field.type)
    elif isinstance(info, inspect.VarTupleType | inspect.ListType):
        yield from structs_in(info.item_type)
    elif isinstance(info, inspect.UnionType):
        for part in info.types:
            yield from structs_in(part)


STRUCTS = sorted({*structs_in(Recipe), *structs_in(Suite)}, key=lambda kind: (kind.__module__, kind.__name__))


def valid(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a type that keeps to what the type says of it."""
    info = kind if isinstance(kind, inspect.Type) else inspect.type_info(kind)
    match info:
        case inspect.StructType(cls=cls) if cls is Mix:  # four shares of 1, which the type cannot say
            return st.permutations([0.5, 0.25, 0.25, 0.0]).map(lambda shares: Mix(*shares))
        case inspect.StructType():
            return st.fixed_dictionaries({field.name: valid(field.type) for field in info.fields}).map(lambda fields: info.cls(**fields))
        case inspect.VarTupleType() | inspect.ListType():
            return st.lists(valid(info.item_type), min_size=info.min_length or 0, max_size=3).map(tuple)
        case inspect.UnionType():
            return st.one_of([valid(part) for part in info.types])
        case inspect.LiteralType():
            return st.sampled_from(info.values)
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType():
            return st.integers(info.ge if info.ge is not None else -LARGEST, info.le if info.le is not None else LARGEST)
        case inspect.FloatType():
            low, high = (info.gt if info.ge is None else info.ge), (info.lt if info.le is None else info.le)
            open_ends = {"exclude_min": info.gt is not None, "exclude_max": info.lt is not None}
            return st.floats(low, high, **open_ends, allow_nan=False, allow_infinity=False)
        case inspect.StrType(pattern=None):
            return TEXT.filter(lambda text: len(text) >= (info.min_length or 0))
        case inspect.StrType():
            return st.from_regex(info.pattern, fullmatch=True).filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text))
        case inspect.NoneType():
            return st.none()
    raise AssertionError(f"a setting of type {info}: say here what is valid")


def read_back(text: str, kind: type) -> Any:
    return settings.convert(settings.decode(text, "shown"), kind, "shown")


@pytest.mark.parametrize("kind", STRUCTS, ids=lambda kind: f"{kind.__module__.rsplit('.', 1)[1]}.{kind.__name__}")
@hypothesis.settings(max_examples=12)
@given(data=st.data())
def test_what_is_shown_reads_back_as_the_same(kind: type, data: st.DataObject) -> None:
    made = data.draw(valid(kind))
    shown = settings.show(made)
    assert read_back(shown, kind) == made
    assert settings.show(read_back(shown, kind)) == shown


def assignments(made: msgspec.Struct) -> Iterator[str]:
    """What sets every key of a Struct whose lists have one entry, as somebody would write it after `--set`."""
    for name, value in msgspec.to_builtins(made).items():
        entry = value[0] if name in LISTS else value
        if isinstance(entry, dict):
            for key, inner in entry.items():
                if inner is not None:
                    yield f"{name}.{key}={settings._toml(inner)}"
        elif entry is not None:
            yield f"{name}={settings._toml(entry)}"


@pytest.mark.parametrize("kind", [Recipe, Suite])
@hypothesis.settings(max_examples=8)
@given(data=st.data())
def test_every_key_can_be_changed(kind: type, data: st.DataObject) -> None:
    made = data.draw(valid(kind))
    made = msgspec.structs.replace(made, **{name: getattr(made, name)[:1] for name in LISTS if hasattr(made, name)})
    table: dict[str, Any] = {}
    for assignment in assignments(made):
        settings.change(table, assignment, LISTS)
    assert settings.convert(table, kind, "changed") == made


@given(st.integers(1, 5), TEXT)
def test_a_key_of_a_list_of_tables_changes_every_one_of_them(entries: int, text: str) -> None:
    table: dict[str, Any] = {"data": [{"bank": f"b{n}", "limit": n} for n in range(entries)]}
    settings.change(table, f"data.bank={settings._toml(text)}", ("data",))
    assert table == {"data": [{"bank": text, "limit": n} for n in range(entries)]}


@pytest.mark.parametrize(
    ("assignment", "table"),
    [
        ("a=1", {"a": 1}),
        ("a = 1e-4", {"a": 1e-4}),
        ("a.b.c=true", {"a": {"b": {"c": True}}}),
        ("a=a word without quotes", {"a": "a word without quotes"}),
        ("a='1'", {"a": "1"}),
        ("a=x=y", {"a": "x=y"}),
        ("a=[1, 2]", {"a": [1, 2]}),
        ("a=", {"a": ""}),
        ("list.a=1", {"list": [{"a": 1}]}),
    ],
)
def test_a_change_is_read_as_it_is_meant(assignment: str, table: dict[str, Any]) -> None:
    made: dict[str, Any] = {}
    settings.change(made, assignment, ("list",))
    assert made == table


@pytest.mark.parametrize("assignment", ["", "a", "=1", "a.=1", " = "])
def test_what_is_no_change_says_how_to_write_one(assignment: str) -> None:
    table: dict[str, Any] = {"a": 5}
    with pytest.raises(UsageError, match=r"write it as section\.key=value"):
        settings.change(table, assignment, ())
    assert table == {"a": 5}


def test_a_key_below_what_is_no_section_is_refused() -> None:
    """Not passed over: whoever asked for it would train with something else."""
    table: dict[str, Any] = {"seed": 5, "data": [1]}
    for assignment in ("seed.x=1", "seed.x.y=1", "data.bank=x"):
        with pytest.raises(UsageError, match="is not a section"):
            settings.change(table, assignment, ("data",))
    assert table == {"seed": 5, "data": [1]}


def test_files_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"Stra\xdfe")
    for name, said in (("nowhere", "No such file"), ("latin", "UTF-8 or UTF-16"), ("", "cannot be read")):
        with pytest.raises(EdgexpError, match=said) as caught:
            settings.read(tmp_path / name)
        assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)
    (tmp_path / "good").write_text("a = 'ü'", "utf-8")
    assert settings.decode(settings.read(tmp_path / "good"), "good") == {"a": "ü"}
    with pytest.raises(EdgexpError, match="a file: not TOML"):
        settings.decode("a = ", "a file")


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For errors."""

    number: int = 0


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    """For errors."""

    inner: Inner = Inner()
    many: tuple[Inner, ...] = ()


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"inner": {"number": "x"}}, "here: inner.number: expected `int`, got `str`"),
        ({"inner": {"nubmer": 1}}, "here: inner.nubmer: there is no such setting"),
        ({"outer": 1}, "here: outer: there is no such setting"),
        ({"many": [{}, {"number": 1.5}]}, "here: many[1].number: expected `int`, got `float`"),
        ({"inner": 3}, "here: inner: expected `object`, got `int`"),
    ],
)
def test_a_wrong_value_is_named_by_its_key(table: dict[str, Any], said: str) -> None:
    with pytest.raises(EdgexpError) as caught:
        settings.convert(table, Outer, "here")
    assert str(caught.value) == said


def test_recipes_and_suites_are_told_apart_by_their_names() -> None:
    every = settings.shipped(lambda name: True)
    suites = settings.shipped(lambda name: name.startswith(settings.SUITES))
    assert suites and set(suites) < set(every) and all(path.suffix == ".toml" and path.is_file() for path in every.values())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_settings_are_read_in_whatever_unicode_an_editor_saves(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "file.toml").write_bytes("name = 'Straße'\r\nnumber = 1\r\n".encode(encoding))
    assert settings.decode(settings.read(tmp_path / "file.toml"), "file") == {"name": "Straße", "number": 1}


def test_tables_in_tables_without_end_are_one_line() -> None:
    with pytest.raises(EdgexpError, match="a file: not TOML"):
        settings.decode("a = " + "[" * 100_000, "a file")
