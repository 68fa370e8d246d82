"""What becomes of episodes: `edgexp bank review`, which asks about one after the other, `accept` and `forget`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgexp.cli.options import bank_option, encoder_option, filter_options, filters_of, say, use_encoder, writing
from edgexp.errors import EdgexpError, UsageError
from edgexp.terminal import echo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgexp.bank import Bank
    from edgexp.trajectory import Trajectory

KEYS = {"y": "it succeeded", "n": "it failed", "a": "accept it as it is", "f": "forget it", "s": "leave it in quarantine", "q": "stop"}
_LONGEST = 2_000
"""Characters of each text that are shown."""


def forget_everywhere(bank: "Bank", ids: "Sequence[str]") -> int:
    """As `edgexp.play.warming.forget_everywhere`, which is heavy to import."""
    from edgexp.play import warming

    return warming.forget_everywhere(bank, ids)


@click.command()
@bank_option
@filter_options
@encoder_option
@click.option("--full", is_flag=True, help="Show long texts whole.")
def review(bank: Path | None, encoder: str | None, full: bool, **filters: Any) -> None:
    """Decide about what waits in quarantine, one by one.

    You see an episode and answer with one letter. y: accept it, it succeeded. n: accept it, it failed. a: accept it as it is. f: forget it
    for good. s: leave it where it is. q: stop. Each answer counts at once; what is forgotten goes at the end.

    \b
    Examples:
      edgexp bank review
      edgexp bank review --env chat
    """
    with writing(bank) as opened:
        use_encoder(opened, encoder)
        waiting = [entry.id for entry in reversed(opened.entries(filters_of(filters), "quarantined"))]
        gone: list[str] = []
        counts = dict.fromkeys(KEYS, 0)
        try:
            for number, identity in enumerate(waiting, 1):
                if (key := _decide(opened, identity, f"{number} of {len(waiting)}", full, gone)) == "q":
                    break
                counts[key] += 1
        finally:
            if gone:
                forget_everywhere(opened, gone)
    left = len(waiting) - sum(counts.values()) + counts["s"]
    echo(f"{counts['y'] + counts['n'] + counts['a']:,} accepted, {counts['f']:,} forgotten, {left:,} still wait" if waiting
         else "nothing waits in quarantine")


def _decide(opened: "Bank", identity: str, title: str, full: bool, gone: list[str]) -> str:
    """Show one and do what is answered; the key."""
    from edgexp.bank.outcomes import judge
    from edgexp.cli import screens

    try:
        trajectory = opened.get(identity)
    except EdgexpError as error:  # one that is damaged: it stays where it is
        say(str(error))
        return "s"
    screens.trajectory(trajectory, opened.usefulness([identity])[identity], 0 if full else _LONGEST)
    key = _ask(title, trajectory)
    if key in ("y", "n"):
        gone += judge(opened, [identity], key == "y")[1]
    elif key == "a":
        opened.accept([identity])
    elif key == "f":
        gone.append(identity)
    return key


def _ask(title: str, trajectory: "Trajectory") -> str:
    """A key, asked for until it is one. The end of input means to stop."""
    default = "s" if not trajectory.outcome_known else "a"
    say("  ".join(f"{key} {meaning}" for key, meaning in KEYS.items()))
    try:
        return str(click.prompt(title, type=click.Choice(list(KEYS)), default=default, show_choices=False, err=True))
    except click.Abort:
        return "q"


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@bank_option
@click.option("--all", "everything", is_flag=True, help="Accept everything in quarantine.")
@click.option("--won/--lost", "success", default=None, help="Say how they ended. They get another id where the bank knew otherwise.")
@encoder_option
def accept(ids: tuple[str, ...], bank: Path | None, everything: bool, success: bool | None, encoder: str | None) -> None:
    """Release episodes from quarantine, so that prompts can hold them.

    An episode of which nobody has said how it ended counts as lost.

    \b
    Examples:
      edgexp bank accept t1c9 t2f0
      edgexp bank accept t1c9 --won
      edgexp bank accept --all
    """
    from edgexp.bank.outcomes import judge

    _some(ids, everything, "--all")
    with writing(bank) as opened:
        chosen = _chosen(opened, ids, everything)
        if success is None:
            echo(f"{opened.accept(chosen):,} accepted")
            return
        use_encoder(opened, encoder)
        accepted, replaced = judge(opened, chosen, success)
        forget_everywhere(opened, replaced)
    echo(f"{len(accepted):,} accepted as {'won' if success else 'lost'}" + (f", {len(replaced):,} under another id" * bool(replaced)))


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@bank_option
@click.option("--quarantined", is_flag=True, help="Remove everything in quarantine.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def forget(ids: tuple[str, ...], bank: Path | None, quarantined: bool, yes: bool) -> None:
    """Remove episodes for good.

    They leave the database, every index file, and the vault, whatever the model. The log keeps the ids that other episodes remembered.

    \b
    Examples:
      edgexp bank forget t1c9
      edgexp bank forget --quarantined --yes
    """
    _some(ids, quarantined, "--quarantined")
    with writing(bank) as opened:
        chosen = _chosen(opened, ids, quarantined)
        if not yes and chosen:
            click.confirm(f"forget {len(chosen):,} of {opened.count(status=None):,} trajectories for good?", abort=True, err=True)
        echo(f"{forget_everywhere(opened, chosen):,} forgotten")


def _some(ids: tuple[str, ...], everything: bool, option: str) -> None:
    """Either ids or the option that stands for all."""
    if bool(ids) == everything:
        raise UsageError(f"name some ids, or give {option}" if not ids else f"ids and {option} exclude each other")


def _chosen(opened: "Bank", ids: tuple[str, ...], quarantined: bool) -> list[str]:
    """Full ids: those that were named, or all in quarantine."""
    if quarantined:
        return opened.ids("quarantined")
    return [opened.find(identity) for identity in ids]
