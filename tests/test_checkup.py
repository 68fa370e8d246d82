"""The checkup: every part is looked at, whatever is wrong with the others."""

from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
from bank_samples import WordEncoder, trajectories

from edgexp import checkup
from edgexp.bank import Bank
from edgexp.bank.bank import FILE
from edgexp.checkup import Finding, examine
from edgexp.engine.vault import Vault, fingerprint
from edgexp.errors import EdgexpError

PARTS = ["machine", "home", "library", "models", "engine", "environments", "bank", "vault"]


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every check says that its part is good."""
    for name in PARTS:
        monkeypatch.setattr(checkup, f"_{name}", lambda *_, name=name: iter([Finding(name, "good", "")]))


def test_every_part_is_looked_at_in_order(plain: None) -> None:
    assert [(one.what, one.state) for one in examine()] == [(name, "good") for name in PARTS]


@pytest.mark.parametrize("broken", PARTS)
@pytest.mark.parametrize("error", [EdgexpError("it is broken"), OSError(13, "Permission denied")])
def test_a_check_that_fails_is_a_finding_and_the_others_go_on(
    plain: None, monkeypatch: pytest.MonkeyPatch, broken: str, error: Exception
) -> None:
    def fail(*_: object) -> Iterator[Finding]:
        yield Finding(broken, "note", "the first half")
        raise error

    monkeypatch.setattr(checkup, f"_{broken}", fail)
    findings = list(examine())
    assert [one.what for one in findings if one.state == "good"] == [name for name in PARTS if name != broken]
    assert [(one.state, one.text) for one in findings if one.what == broken] == [("note", "the first half"), ("bad", str(error))]


def test_findings_come_as_they_are_made(plain: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring an engine takes a while: what is known by then is shown."""
    reached = []
    monkeypatch.setattr(checkup, "_engine", lambda *_: (reached.append(1), iter([Finding("engine", "good", "")]))[1])
    findings = examine()
    assert next(findings).what == "machine" and reached == []


def test_the_engine_is_told_which_model_and_whether_to_measure_anew(plain: None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(checkup, "_engine", lambda *given: (asked.append(given), iter(()))[1])
    list(examine("a model", fresh=True))
    assert asked == [("a model", True)]


@pytest.mark.parametrize(("free", "state"), [(5e8, "bad"), (1.5e9, "good")])
def test_a_home_needs_a_gigabyte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: float, state: str) -> None:
    monkeypatch.setenv("EDGEXP_HOME", str(tmp_path / "not" / "made" / "yet"))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(checkup.shutil, "disk_usage", lambda path: usage(1e12, 0, free) if path == tmp_path else None)
    (finding,) = checkup._home()
    assert finding.state == state and str(tmp_path) in finding.text
    assert (finding.remedy != "") == (state == "bad") and not (tmp_path / "not").exists(), "looking makes nothing"


def test_a_home_that_cannot_be_written_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEXP_HOME", str(tmp_path))
    monkeypatch.setattr(checkup.os, "access", lambda path, mode: False)
    (finding,) = checkup._home()
    assert finding.state == "bad" and "cannot be written" in finding.text and "EDGEXP_HOME" in finding.remedy


@pytest.mark.parametrize(("load", "notes"), [(0.1, 0), (3.9, 1)])
def test_a_busy_machine_is_worth_a_note(monkeypatch: pytest.MonkeyPatch, load: float, notes: int) -> None:
    monkeypatch.setattr("edgexp.machine.cores", lambda: 4)
    monkeypatch.setattr(checkup.os, "getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    findings = list(checkup._machine())
    assert findings[0].state == "good" and "4 cores" in findings[0].text
    assert [one.state for one in findings[1:]] == ["note"] * notes


def test_a_bank_that_is_not_there_yet_is_a_note(tmp_path: Path) -> None:
    (finding,) = checkup._bank(tmp_path / "bank")
    assert finding.state == "note" and "edgexp collect" in finding.remedy and not (tmp_path / "bank").exists()


def test_a_bank_is_counted_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "bank"
    with Bank.open(path, WordEncoder()) as bank:
        bank.add(trajectories(10))
    (finding,) = checkup._bank(path)
    assert finding.state == "good" and "10 trajectories" in finding.text and "encoder words" in finding.text
    with Bank.open(path) as bank, bank._store.database.transaction():
        bank._store.database.execute("DELETE FROM vector WHERE kind = 'task'")
    findings = list(checkup._bank(path))
    assert [one.state for one in findings] == ["good", *["bad"] * 5], "five problems are enough to know"
    assert all(f"edgexp bank rebuild --bank {path}" == one.remedy for one in findings[1:])
    (path / FILE).write_bytes(b"no database " * 1000)
    with pytest.raises(EdgexpError, match="not a bank"):
        list(checkup._bank(path))


def test_environments_are_listed_with_their_splits() -> None:
    findings = {one.text.split(":")[0]: one for one in checkup._environments()}
    assert findings["household"].state == "good" and "train 100,000" in findings["household"].text
    assert all(one.state in ("good", "note") for one in findings.values()), "one that is not installed is no fault"


def test_the_vault_is_measured_and_said_to_be_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEXP_HOME", str(tmp_path))
    monkeypatch.setenv("EDGEXP_VAULT", "2GB")
    Vault(tmp_path / "vault", spare=0).store(fingerprint({"model": "a" * 64}, [], 0, [1]), "t1", bytes(10_000_000))
    (finding,) = checkup._vault()
    assert finding.state == "good" and finding.text == f"{tmp_path / 'vault'}: 1 blocks, 0.01 of 2.00 GB"
    monkeypatch.setenv("EDGEXP_VAULT", "off")
    (finding,) = checkup._vault()
    assert finding.state == "good" and finding.text == "off, by EDGEXP_VAULT"
    monkeypatch.setenv("EDGEXP_VAULT", "lots")
    with pytest.raises(EdgexpError, match="EDGEXP_VAULT: 'lots' is no size"):
        list(checkup._vault())


def test_a_vault_that_cannot_be_written_is_a_note_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEXP_HOME", str(tmp_path))
    (tmp_path / "vault").write_text("a file")
    (finding,) = checkup._vault()
    assert finding.state == "note" and "is not a folder" in finding.text and "EDGEXP_VAULT=off" in finding.remedy
    monkeypatch.setenv("EDGEXP_VAULT", "off")
    assert [one.state for one in checkup._vault()] == ["good"]
