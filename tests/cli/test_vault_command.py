"""The vault as a user meets it: `edgexp bank vault`, `bank forget`, and `--vault`."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from bank_samples import WordEncoder, trajectories, trajectory
from click.testing import CliRunner, Result

from edgexp.bank import Bank
from edgexp.cli import cli
from edgexp.engine.vault import DEFAULT_LIMIT, Vault, default_folder, fingerprint
from edgexp.evaluation import evaluate
from edgexp.play import session


def call(*arguments: object, **options: object) -> Result:
    result = CliRunner().invoke(cli, [*map(str, arguments)], env={"COLUMNS": "160"}, **options)  # type: ignore[arg-type]
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    with Bank.open(tmp_path / "bank", WordEncoder()) as opened:
        opened.add(trajectories(8))
    return tmp_path / "bank"


@pytest.fixture
def vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vault:
    """A vault with blocks of four trajectories, from two models."""
    monkeypatch.setenv("EDGEXP_HOME", str(tmp_path / "home"))
    vault = Vault(default_folder(), spare=0)
    for number in range(4):
        for model in ("a" * 64, "b" * 64):
            assert vault.store(fingerprint({"model": model}, [], 0, [number]), trajectory(number).id, bytes(500_000))
    return vault


def labels(vault: Vault) -> set[str]:
    return {path.name.split(".")[1] for path in vault.folder.iterdir()}


def test_what_is_forgotten_leaves_the_vault_too(bank: Path, vault: Vault) -> None:
    assert "2 forgotten" in call("bank", "forget", "--bank", bank, "-y", trajectory(0).id[:12], trajectory(2).id).stdout
    assert labels(vault) == {trajectory(1).id, trajectory(3).id}


def test_what_comes_into_the_vault_while_it_is_forgotten_goes_as_well(bank: Path, vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    forget = Bank.forget

    def store_first(opened: Bank, ids: Sequence[str]) -> int:
        assert trajectory(1).id not in labels(vault), "the vault forgets before the bank does"
        vault.store(fingerprint({"model": "c"}, [], 0, [1]), trajectory(1).id, b"late")
        return forget(opened, ids)

    monkeypatch.setattr(Bank, "forget", store_first)
    call("bank", "forget", "--bank", bank, "-y", trajectory(1).id)
    assert trajectory(1).id not in labels(vault)


def test_the_vault_is_shown_and_cleared(vault: Vault) -> None:
    shown = call("bank", "vault").stdout.splitlines()
    assert shown == [f"{vault.folder}: 8 blocks, 4.0 MB", *(f"  model {12 * m}…  4 blocks, 2.0 MB" for m in "ab")]
    assert call("bank", "vault", "--clear", input="n\n").exit_code == 1
    told = json.loads(call("bank", "vault", "--json").stdout)
    assert told == {"folder": str(vault.folder), "files": 8, "bytes": 8 * 500_064, "models": {12 * m: [4, 4 * 500_064] for m in "ab"}}
    assert "0 blocks" in call("bank", "vault", "--clear", "--yes").stdout
    assert labels(vault) == set()


class Stop(Exception):
    """Raised where a command would begin its work."""


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What run, collect and eval would let a vault hold; they do nothing else."""
    found: list[int] = []

    def stop(*given: object, **_: object) -> None:
        found.extend(one.vault for one in given if isinstance(one, session.Settings | evaluate.Wishes))
        raise Stop

    monkeypatch.setattr(session, "open_session", stop)
    monkeypatch.setattr(evaluate, "evaluate", stop)
    return found


COMMANDS = [("run",), ("collect", "--policy", "agent"), ("eval", "smoke")]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_three_commands_take_a_limit(command: tuple[str, ...], limits: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEXP_HOME", str(tmp_path))
    for given, chosen in ((), None), (("--vault", "8GB"), None), (("--vault", "off"), None), ((), "2 GiB"), ((), "off"), ((), ""):
        monkeypatch.delenv("EDGEXP_VAULT", raising=False) if chosen is None else monkeypatch.setenv("EDGEXP_VAULT", chosen)
        with pytest.raises(Stop):
            call(*command, *given)
    assert limits == [DEFAULT_LIMIT, 8 * 10**9, 0, 2 << 30, 0, DEFAULT_LIMIT]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize("wrong", ["8", "lots", "-1GB", "nan", "1e9GB", "8XB", "8GB\n9GB"])
def test_what_is_no_size_is_one_line(command: tuple[str, ...], wrong: str, limits: list[int]) -> None:
    done = call(*command, f"--vault={wrong}")
    assert done.exit_code == 2 and "--vault" in done.stderr and "is no size" in done.stderr.splitlines()[-1]
    assert limits == []
