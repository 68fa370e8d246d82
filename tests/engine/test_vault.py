"""Blocks on disk: what is loaded is what was stored, or nothing, whatever befalls the folder. Real files and real processes."""

import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from read_only import unwritable

from edgexp.engine import vault as module
from edgexp.engine.vault import (
    DEFAULT_LIMIT,
    HEADER,
    SUFFIX,
    Usage,
    Vault,
    chosen_limit,
    default_folder,
    fingerprint,
    model_tag,
    parse_limit,
)
from edgexp.errors import UsageError
from edgexp.files import owned_name

ABOUT: dict[str, str | int] = {"model": "a" * 64, "library": "b1", "cells": 1, "flash": 0}
OTHER: dict[str, str | int] = {**ABOUT, "model": "c" * 64}
SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


def key(number: int = 0, about: dict[str, str | int] = ABOUT) -> str:
    return fingerprint(about, [1, 2, 3], 3, [number])


def opened(folder: Path, limit: int = 10**9) -> Vault:
    """A vault that takes no regard of how full the disk is that the tests run on."""
    return Vault(folder / "vault", limit, spare=0)


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return opened(tmp_path)


def files(vault: Vault) -> list[Path]:
    return sorted(vault.folder.iterdir()) if vault.folder.exists() else []


def only(vault: Vault) -> Path:
    (path,) = files(vault)
    return path


def same(found: object, payload: bytes) -> bool:
    return isinstance(found, np.ndarray) and found.tobytes() == payload


# What is kept, and what it costs


@given(st.binary(min_size=1, max_size=3000), st.text(sorted(SAFE), min_size=1, max_size=64), st.integers(-(2**31), 2**31 - 1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_stored_is_loaded_by_any_process_at_the_cost_of_one_header(tmp_path, payload, label, number):
    vault = opened(tmp_path)
    vault.clear()
    assert vault.store(key(number), label, payload)
    assert same(opened(tmp_path).load(key(number), label), payload)
    assert only(vault).stat().st_size == len(payload) + HEADER == len(payload) + 64


def as_words(data: bytes) -> "np.ndarray[tuple[int, ...], np.dtype[np.int16]]":
    return np.frombuffer(data, np.int16)


@pytest.mark.parametrize("give", [bytes, bytearray, memoryview, as_words])
def test_any_buffer_can_be_stored(vault, give):
    assert vault.store(key(), "t1", give(b"four"))
    assert same(vault.load(key(), "t1"), b"four")


def test_what_is_loaded_cannot_be_changed_and_outlives_its_file(vault):
    vault.store(key(), "t1", b"first" * 100_000)
    found = vault.load(key(), "t1")
    vault.store(key(), "t1", b"other" * 100_000)
    only(vault).write_bytes(b"")
    vault.clear()
    assert same(found, b"first" * 100_000)
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 1


def test_nothing_is_found_where_nothing_was_stored(vault):
    assert vault.load(key(), "t1") is None
    assert files(vault) == [] and not vault.folder.exists()
    assert (vault.forget(["t1"]), vault.clear(), vault.usage()) == (0, 0, Usage())


def test_a_block_is_found_under_its_own_key_and_label_only(vault):
    vault.store(key(1), "t1", b"one")
    assert vault.load(key(2), "t1") is vault.load(key(1), "t2") is vault.load(key(1, OTHER), "t1") is None
    assert same(vault.load(key(1), "t1"), b"one")


def test_an_empty_payload_is_not_kept(vault):
    assert not vault.store(key(), "t1", b"") and not vault.store(key(), "t1", np.empty(0, np.uint8))
    assert files(vault) == []


def test_the_default_place_is_in_the_home_folder(own_home):
    assert default_folder() == own_home / "vault"


# Fingerprints

ids = st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4)
about = st.dictionaries(st.sampled_from(["model", "library", "n", ""]), st.one_of(st.integers(), st.text(max_size=3)), max_size=3)
origin = st.tuples(about, ids, st.integers(0, 9), ids)


@given(origin, origin)
def test_keys_are_the_same_where_everything_is_and_else_different(first, second):
    def plain(one):
        return sorted((name, type(value).__name__, value) for name, value in one[0].items()), one[1:]

    assert (fingerprint(*first) == fingerprint(*second)) == (plain(first) == plain(second))


@pytest.mark.parametrize(
    "other",
    [
        ({"model": "a" * 64}, [1], 1, [2, 3]),
        ({"model": "a" * 64}, [1, 2], 1, [3, 0]),
        ({"model": "a" * 64}, [], 1, [1, 2, 3]),
        ({"model": "a" * 64}, [1, 2], 2, [3]),
        ({"model": "a" * 64, "x": ""}, [1, 2], 1, [3]),
        ({"model": "a" * 63 + "b"}, [1, 2], 1, [3]),
        ({"model": "a" * 64}, [1, 2], 1, [3 + 2**24]),
    ],
)
def test_no_two_origins_look_alike(other):
    assert fingerprint(*other) != fingerprint({"model": "a" * 64}, [1, 2], 1, [3])


def test_a_key_is_what_it_was_when_the_files_were_written():
    assert fingerprint({"model": "a" * 64, "n": 1}, [1, 2], 2, [3]) == GOLDEN


GOLDEN = "aaaaaaaaaaaa-cd5ed2a8ca3ae901107ed24ea9c23c2d98a6139d6a6455356464c584e1f71623"


def test_the_order_of_what_is_said_and_the_kind_of_numbers_make_no_difference():
    turned = dict(reversed(ABOUT.items()))
    assert fingerprint(turned, np.array([1, 2, 3], np.int32), np.int64(3), (0,)) == key()


@pytest.mark.parametrize("wrong", [2**31, -(2**31) - 1, 1.5, "1"])
def test_ids_that_are_none_have_no_key(wrong):
    with pytest.raises(Exception, match=r"."):
        fingerprint(ABOUT, [], 0, [wrong])


@pytest.mark.parametrize("model", ["", "../../etc", "A" * 64, "\ud800", "f" * 11, "x" * 1000])
def test_a_model_of_any_name_has_a_tag_that_is_safe_in_a_file_name(vault, model):
    assert len(model_tag(model)) == 12 and set(model_tag(model)) <= set("0123456789abcdef")
    assert vault.store(key(0, {"model": model}), "t1", b"data") and same(vault.load(key(0, {"model": model}), "t1"), b"data")


# How much


@pytest.mark.parametrize(
    ("text", "size"),
    [("off", 0), ("OFF", 0), ("0", 0), ("8GB", 8 * 10**9), ("8g", 8 * 10**9), (" 500 MB ", 5 * 10**8), ("1.5GiB", 3 << 29),
     ("4Gi", 4 << 30), ("0.1tb", 10**11), ("1kib", 1024), ("0.0001KB", 0)],
)  # fmt: skip
def test_sizes_as_people_write_them(text, size, monkeypatch):
    assert parse_limit(text) == size
    monkeypatch.setenv("EDGEXP_VAULT", text)
    assert chosen_limit() == size


NO_SIZES = ["", "8", "GB", "-1GB", "+1GB", "nan", "inf", "1e3GB", "1,5GB", "٣GB", "8 GB 9", "8EB", "8GBB", "1.GB", "9" * 400 + "GB"]


@pytest.mark.parametrize("text", NO_SIZES)
def test_what_is_no_size_is_said_in_one_line(text, monkeypatch):
    with pytest.raises(UsageError, match="is no size: write it as") as error:
        parse_limit(text)
    assert "\n" not in str(error.value)
    monkeypatch.setenv("EDGEXP_VAULT", text or " ")
    with pytest.raises(UsageError, match=r"^EDGEXP_VAULT: "):
        chosen_limit()


@given(st.text(max_size=12))
def test_any_text_is_a_size_or_wrong_usage(text):
    with contextlib.suppress(UsageError):
        assert parse_limit(text) >= 0


@pytest.mark.parametrize("chosen", [None, ""])
def test_without_a_choice_there_is_a_default(chosen, monkeypatch):
    monkeypatch.delenv("EDGEXP_VAULT", raising=False) if chosen is None else monkeypatch.setenv("EDGEXP_VAULT", chosen)
    assert chosen_limit() == DEFAULT_LIMIT


# Damage


def damaged(data: bytes, chance: random.Random) -> bytes:
    """One bit the other way, or cut short, or added to, or some bytes gone or doubled in the middle."""
    kind, at = chance.randrange(6), chance.randrange(len(data))
    if kind < 3:
        return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]
    end = min(len(data), at + chance.randrange(1, 100))
    return [data[:at], data + chance.randbytes(chance.randrange(1, 100)), data[:at] + data[end:]][kind - 3]


def test_1000_damaged_files_are_as_good_as_none(vault):
    chance, payload = random.Random(1), random.Random(2).randbytes(700)
    vault.store(key(), "t1", payload)
    path, sound = only(vault), only(vault).read_bytes()
    for _ in range(1000):
        path.write_bytes(damaged(sound, chance))
        assert vault.load(key(), "t1") is None
        assert files(vault) == []
    path.write_bytes(sound)
    assert same(vault.load(key(), "t1"), payload)


def test_every_bit_of_the_header_and_every_length_counts(vault):
    vault.store(key(), "t1", b"payload")
    path, sound = only(vault), only(vault).read_bytes()
    wrong = [sound[:n] for n in range(len(sound))]
    wrong += [sound[:n] + bytes([sound[n] ^ 1 << bit]) + sound[n + 1 :] for n in range(len(sound)) for bit in range(8)]
    for data in wrong:
        path.write_bytes(data)
        assert vault.load(key(), "t1") is None


@pytest.mark.parametrize("stored_as", [(2, "t1", ABOUT), (1, "t2", ABOUT), (1, "t1", OTHER)])
def test_another_blocks_file_under_this_name_is_no_block(vault, stored_as):
    number, label, other = stored_as
    vault.store(key(1), "t1", b"mine")
    mine = only(vault)
    vault.store(key(number, other), label, b"alien")
    (alien,) = set(files(vault)) - {mine}
    alien.replace(mine)
    assert vault.load(key(1), "t1") is None and files(vault) == []


def test_a_file_of_another_version_makes_room(vault):
    vault.store(key(), "t1", b"data")
    path = only(vault)
    path.write_bytes(path.read_bytes().replace(b"block 1", b"block 2"))
    assert vault.load(key(), "t1") is None and files(vault) == []


def put_folder(path: Path) -> None:
    path.mkdir()


def put_full_folder(path: Path) -> None:
    path.mkdir()
    (path / "letter").write_text("mine")


def put_pipe(path: Path) -> None:
    os.mkfifo(path)


def put_link(path: Path) -> None:
    path.symlink_to(path.with_name("aside"))


def put_circle(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize("put", [put_folder, put_full_folder, put_pipe, put_link, put_circle])
def test_what_is_no_file_is_as_good_as_none(vault, put):
    vault.store(key(), "t1", b"data")
    path = only(vault)
    path.replace(path.with_name("aside"))
    put(path)
    assert vault.load(key(), "t1") is None
    assert path.with_name("aside").exists()
    assert os.path.lexists(path) == (put is put_full_folder)
    assert vault.store(key(), "t1", b"data") == (put is not put_full_folder)
    assert same(vault.load(key(), "t1"), b"data") == (put is not put_full_folder)


def test_a_file_that_may_not_be_read_is_as_good_as_none(tmp_path, vault):
    vault.store(key(), "t1", b"data")
    (tmp_path / "other").mkdir()
    only(vault).chmod(0)
    with unwritable(tmp_path / "other"):  # where the tests run as root: as somebody who is not
        assert vault.load(key(), "t1") is None


def test_a_file_that_is_cut_short_while_it_is_read_is_as_good_as_none(vault, monkeypatch):
    vault.store(key(), "t1", b"data" * 1000)
    path, empty = only(vault), np.empty

    def cut_first(*arguments):
        os.truncate(path, 200)
        return empty(*arguments)

    monkeypatch.setattr(module.np, "empty", cut_first)
    assert vault.load(key(), "t1") is None


def no_memory(*_: object) -> None:
    raise MemoryError


def broken_disk(*_: object) -> None:
    raise OSError(5, "Input/output error")


def too_many_files(*_: object) -> None:
    raise OSError(24, "Too many open files")


@pytest.mark.parametrize(("what", "stays"), [(no_memory, True), (broken_disk, False), (too_many_files, True)])
def test_what_goes_wrong_while_it_is_read_costs_the_block_at_most(vault, monkeypatch, what, stays):
    vault.store(key(), "t1", b"data")
    with monkeypatch.context() as patched:
        patched.setattr(module, "_read_payload", what)
        assert vault.load(key(), "t1") is None
    assert same(vault.load(key(), "t1"), b"data") == stays


def test_ctrl_c_is_passed_on_and_leaves_nothing_half_done(vault, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    vault.store(key(), "t1", b"old")
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            vault.store(key(), "t1", b"new")
        patched.setattr(module, "_read_payload", interrupt)
        with pytest.raises(KeyboardInterrupt):
            vault.load(key(), "t1")
    assert only(vault) and same(vault.load(key(), "t1"), b"old")


# Places that do not play along


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_costs_the_block_and_leaves_the_old_one(vault, monkeypatch, call):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    vault.store(key(), "t1", b"old")
    with monkeypatch.context() as patched:
        patched.setattr(*((os, "fsync") if call == "fsync" else (Path, "replace")), full)
        assert not vault.store(key(), "t1", b"new")
    assert only(vault) and same(vault.load(key(), "t1"), b"old")


def test_a_folder_that_can_only_be_read_serves_what_it_holds(vault):
    vault.store(key(), "t1", b"data")
    with unwritable(vault.folder):
        assert not vault.store(key(1), "t1", b"more")
        assert not vault.store(key(), "t1", b"more")
        assert (vault.forget(["t1"]), vault.clear()) == (0, 0)
        assert same(vault.load(key(), "t1"), b"data")
        assert "cannot be written" in vault.problem()


@pytest.mark.parametrize("place", ["file", "file/in", "nul\0", "n" * 300, "nowhere", "circle"])
def test_a_folder_that_cannot_be_is_done_without(tmp_path, place):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    vault = Vault(tmp_path / place, 10**6, spare=0)
    assert not vault.store(key(), "t1", b"data")
    assert vault.load(key(), "t1") is None
    assert (vault.forget(["t1"]), vault.clear(), vault.usage()) == (0, 0, Usage())
    assert vault.problem() or "\0" in place
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_could_be_made_is_no_problem_and_is_not_made_by_asking(vault):
    assert vault.problem() == "" and not vault.folder.exists()
    vault.store(key(), "t1", b"data")
    assert vault.problem() == "" and only(vault)


def test_a_vault_gives_way_as_the_disk_fills(tmp_path, monkeypatch):
    free = {"bytes": 10_000}
    usage = type(module.shutil.disk_usage(tmp_path))
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage(10**6, 0, free["bytes"]))
    vault = Vault(tmp_path / "vault", 10**9, spare=5_000)
    assert all(vault.store(key(n), "t1", b"x" * 1000) for n in range(3))
    free["bytes"] = 4_500
    assert vault.problem().endswith("GB of the disk free")
    assert vault.store(key(3), "t1", b"x" * 1000)
    assert len(files(vault)) < 3
    free["bytes"] = 0
    assert not vault.store(key(4), "t1", b"x" * 1000)
    assert files(vault) == []


# The limit


def test_the_least_recently_used_go_first(tmp_path):
    size = 1000 + HEADER
    vault = opened(tmp_path, 3 * size)
    for number in range(3):
        vault.store(key(number), f"t{number}", bytes(1000))
        os.utime(vault.folder / module._file_name(key(number), f"t{number}"), (number, number))
    assert vault.load(key(0), "t0") is not None
    vault.store(key(3), "t3", bytes(1000))
    assert [vault.load(key(n), f"t{n}") is not None for n in range(4)] == [True, False, True, True]
    assert vault.usage().bytes == 3 * size


def test_a_block_takes_the_place_of_its_older_self_and_of_no_other(tmp_path):
    vault = opened(tmp_path, 2 * (1000 + HEADER))
    for number in (0, 1, 1, 0, 1):
        assert vault.store(key(number), "t1", bytes(1000))
        assert len(files(vault)) == (1 if number == 0 and vault.usage().files == 1 else 2)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 900)), max_size=20), st.integers(0, 2000))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_limit_is_kept_and_the_newest_is_there(tmp_path, stores, limit):
    vault = opened(tmp_path, limit)
    vault.clear()
    for number, size in stores:
        fits = size + HEADER <= limit
        assert vault.store(key(number), f"t{number}", bytes([number]) * size) == fits
        assert vault.usage().bytes <= limit
        if fits:
            assert same(vault.load(key(number), f"t{number}"), bytes([number]) * size)


def test_what_others_store_meanwhile_counts(tmp_path, monkeypatch):
    vault, other, sync = opened(tmp_path, 1500), opened(tmp_path, 1500), os.fsync

    def store_first(descriptor: int) -> None:
        monkeypatch.setattr(os, "fsync", sync)
        assert other.store(key(1), "t1", bytes(1000))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", store_first)
    assert vault.store(key(2), "t2", bytes(1000))
    assert vault.usage().bytes <= 1500


def test_a_smaller_limit_holds_from_the_next_block_on(tmp_path):
    vault = opened(tmp_path)
    for number in range(9):
        vault.store(key(number), "t1", bytes(1000))
    assert opened(tmp_path, 2200).store(key(9), "t1", bytes(1000))
    assert vault.usage().bytes <= 2200 and vault.load(key(9), "t1") is not None


def test_a_file_beyond_the_limit_takes_no_memory_and_stays_until_room_is_needed(tmp_path):
    vault = opened(tmp_path)
    vault.store(key(0), "t1", bytes(1000))
    small = opened(tmp_path, 1000)
    assert small.load(key(0), "t1") is None
    assert same(vault.load(key(0), "t1"), bytes(1000))
    assert opened(tmp_path, 0).load(key(0), "t1") is None and not opened(tmp_path, 0).store(key(0), "t1", b"data")
    assert small.store(key(1), "t1", bytes(500)) and vault.load(key(0), "t1") is None


def test_a_sparse_file_of_a_terabyte_is_as_good_as_none(vault):
    vault.store(key(), "t1", b"data")
    path = only(vault)
    with path.open("r+b") as file:
        file.seek(16)
        file.write((2**40).to_bytes(8, "little"))
        file.truncate(2**40 + HEADER)
    assert vault.load(key(), "t1") is None


def test_a_file_that_cannot_go_leaves_no_room(tmp_path, monkeypatch):
    vault = opened(tmp_path, 1500)
    vault.store(key(0), "t1", bytes(1000))
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", broken_disk)
        assert not vault.store(key(1), "t1", bytes(1000))
    assert vault.load(key(0), "t1") is not None


# Forgetting, labels, and what belongs to others


def test_a_label_is_forgotten_for_every_model_and_no_other_label_is(vault):
    for about in (ABOUT, OTHER):
        for label in ("t1", "t11", "t2", "T1"):
            vault.store(key(0, about), label, label.encode())
            vault.store(key(1, about), label, label.encode())
    assert vault.forget(["t1", "t2", "t3"]) == 8
    assert {path.name.split(".")[1] for path in files(vault)} == {"t11", "T1"}
    assert vault.forget(["t1"]) == 0 and vault.forget([]) == 0


def test_what_is_forgotten_while_it_is_written_is_not_kept(vault, monkeypatch):
    sync = os.fsync

    def forget_first(descriptor: int) -> None:
        sync(descriptor)
        assert vault.forget(["t1"]) == 0

    monkeypatch.setattr(os, "fsync", forget_first)
    assert not vault.store(key(), "t1", b"secret")
    assert vault.store(key(), "t2", b"other")
    assert only(vault).name.split(".")[1] == "t2"


HOSTILE = ["", ".", "..", "../t1", "a/b", "a\\b", "a.b", "t1\n", "t1\0", "*", "t?", "[a]", "é", "٣", "a b", "x" * 65, "~", "$H", "\ud800"]


@pytest.mark.parametrize("label", HOSTILE)
def test_nothing_is_kept_under_a_label_that_could_name_something_else(tmp_path, vault, label):
    vault.store(key(), "t1", b"mine")
    before = sorted(tmp_path.rglob("*"))
    assert not vault.store(key(), label, b"data")
    assert vault.load(key(), label) is None
    assert vault.forget([label, f"{label}*"]) == 0
    assert sorted(tmp_path.rglob("*")) == before


@given(st.text(max_size=70), st.text(max_size=70))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_label_and_any_key_do_no_harm(tmp_path, label, other):
    vault = opened(tmp_path)
    safe = 0 < len(label) <= 64 and set(label) <= SAFE
    assert vault.store(key(), label, b"data") == safe == same(vault.load(key(), label), b"data")
    assert not vault.store(other, "t1", b"data") and vault.load(other, "t1") is None
    assert vault.forget([label]) == safe
    assert sorted(tmp_path.rglob("*")) in ([], [vault.folder])


def foreign_files(folder: Path, block: str) -> list[Path]:
    """Files that look a little like the vault's: with a byte-order mark, another ending, a letter too many, in capitals; and a folder."""
    names = ["notes.txt", ".hidden", "\ufeff" + block, block + ".bak", "x" + block, block.upper(), block.replace("t1", "t1 copy"),
             "Thumbs.db", SUFFIX, f".{SUFFIX}.", block.replace(".t1.", ".."), f".x{block}.1-2-3",
             f".{block}.swp", f".{block}.00000000-1-0000000g", ".notes.block.txt"]  # fmt: skip
    paths = [folder / name for name in names]
    for path in paths:
        path.write_bytes(b"\xef\xbb\xbfmine")
    (folder / "kept.block").mkdir()
    return sorted([*paths, folder / "kept.block"])


def test_what_is_not_the_vaults_is_left_alone(tmp_path):
    vault = opened(tmp_path, 2000)
    vault.store(key(), "t1", bytes(1000))
    foreign = foreign_files(vault.folder, only(vault).name)
    for path in foreign:
        os.utime(path, (1, 1))
    assert vault.usage().files == 1
    for number in range(5):
        assert vault.store(key(number + 1), "t1", bytes(1000))
        assert vault.load(key(number + 1), "t1") is not None
    assert vault.forget(["t1"]) == 1 and vault.clear() == 0
    assert files(vault) == foreign


def test_usage_tells_the_models_apart(vault):
    for number in range(3):
        vault.store(key(number), "t1", bytes(100))
    vault.store(key(0, OTHER), "t1", bytes(1000))
    assert vault.usage() == Usage(4, 1300 + 4 * HEADER, {"c" * 12: (1, 1000 + HEADER), "a" * 12: (3, 300 + 3 * HEADER)})
    assert list(vault.usage().models) == ["c" * 12, "a" * 12]
    assert vault.clear() == 4 and vault.usage() == Usage()


# Several processes

WORK = """
import hashlib, random, sys
from pathlib import Path
from edgexp.engine.vault import Vault, fingerprint

folder, seed, limit, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
vault, chance, found = Vault(folder, limit, spare=0), random.Random(seed), 0
print("ready", flush=True)
for _ in range(rounds):
    number = chance.randrange(12)
    key, label = fingerprint({"model": "a" * 64}, [1], 1, [number]), f"t{number}"
    payload = hashlib.sha256(b"%d" % number).digest() * (200 + 50 * number)
    what = chance.choice(sys.argv[5].split(","))
    if what == "store":
        vault.store(key, label, payload)
    elif what == "load":
        got = vault.load(key, label)
        found += got is not None
        assert got is None or got.tobytes() == payload, "a wrong value"
    elif what == "forget":
        vault.forget([label])
    elif what == "clear":
        vault.clear()
print(found)
"""


def start(vault: Vault, seed: int, rounds: int = 150, what: str = "store,store,load,load,forget") -> "subprocess.Popen[str]":
    arguments = [str(vault.folder), str(seed), str(vault.limit), str(rounds), what]
    return subprocess.Popen([sys.executable, "-c", WORK, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: "subprocess.Popen[str]") -> int:
    """What a worker found, once it has ended well."""
    out, problems = process.communicate()
    assert process.returncode == 0, problems
    return int(out.split()[-1])


def every_block_is_right(vault: Vault) -> bool:
    before = files(vault)
    for number in range(12):
        found = vault.load(fingerprint({"model": "a" * 64}, [1], 1, [number]), f"t{number}")
        assert found is None or found.tobytes() == hashlib.sha256(b"%d" % number).digest() * (200 + 50 * number)
    return files(vault) == before


def test_several_processes_at_a_small_limit(tmp_path):
    vault = opened(tmp_path, 60_000)
    works = ["store,load", "store,store,load,load,forget", "load,store,clear"]
    workers = [start(vault, seed, what=what) for seed, what in enumerate(works)]
    assert sum(ended(worker) for worker in workers) > 0
    assert vault.usage().bytes <= 60_000
    assert every_block_is_right(vault)
    assert all(path.suffix == SUFFIX for path in files(vault))


def test_two_processes_store_the_same_block(tmp_path):
    vault = opened(tmp_path)
    for worker in [start(vault, 5, 60, "store"), start(vault, 5, 60, "store")]:
        ended(worker)
    assert files(vault) and every_block_is_right(vault)


def killed_later(vault: Vault, chance: random.Random) -> Iterator[None]:
    """Kill a process that stores without end at some moment; `None` after each."""
    for seed in range(6):
        worker = start(vault, seed, 10**9, "store")
        assert worker.stdout is not None and worker.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0.0, 0.05))
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
        yield


def test_a_process_that_is_killed_while_it_stores_leaves_nothing_wrong(tmp_path):
    vault = opened(tmp_path, 60_000)
    for _ in killed_later(vault, random.Random(1)):
        assert every_block_is_right(vault) and vault.usage().bytes <= 60_000
    assert vault.store(key(), "t1", b"next")
    assert all(path.suffix == SUFFIX and not path.name.startswith(".") for path in files(vault))


def partial_names(vault: Vault, label: str) -> Sequence[str]:
    name = module._file_name(key(), label)
    return [owned_name(f".{name}"), f".{name}.00000000-1-00000000"]


def test_half_written_files_go_when_their_writer_is_gone_or_a_day_has_passed(vault):
    vault.store(key(), "t0", b"data")
    mine, foreign = (vault.folder / name for name in partial_names(vault, "t1"))
    mine.write_bytes(b"half")
    foreign.write_bytes(b"half")
    vault.store(key(), "t0", b"data")
    assert mine.exists() and foreign.exists()
    os.utime(foreign, (1, 1))
    vault.store(key(), "t0", b"data")
    assert mine.exists() and not foreign.exists()


@pytest.mark.parametrize("away", [lambda vault: vault.forget(["t1"]), lambda vault: vault.clear()])
def test_half_written_files_are_forgotten_too(vault, away):
    vault.folder.mkdir(parents=True)
    for name in partial_names(vault, "t1"):
        (vault.folder / name).write_bytes(b"half")
    away(vault)
    assert files(vault) == []
