"""What several commands share: options, opening a bank and its encoder, progress, JSON. Knows no command."""

import errno
import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from edgexp.errors import EdgexpError, UsageError
from edgexp.terminal import echo, echo_json, reserve_standard_output, style

if TYPE_CHECKING:
    from edgexp.bank import Bank, Filters, Status
    from edgexp.cluster.far import Cluster
    from edgexp.embedding import Encoder
    from edgexp.play.session import Settings


F = TypeVar("F", bound=Callable[..., Any])

class Place(click.Path):
    """A file or a folder. An empty text, such as a variable that is not set, names none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path; fails with one line where the text is empty."""
        if not str(value):
            self.fail("it is empty; name a file or a folder, or leave the option out", param, ctx)
        return super().convert(value, param, ctx)


bank_option = click.option("--bank", type=Place(path_type=Path), help="The bank's folder.  [default: the one in edgexp's home]")


def reserve(context: click.Context, _: click.Parameter, value: Any) -> Any:
    """The callback of an option that promises JSON: from now on nobody else writes to standard output."""
    if value:
        context.with_resource(reserve_standard_output())
    return value


json_option = click.option("--json", "as_json", is_flag=True, callback=reserve, help="Print JSON lines to standard output, for scripts.")


def say(message: str) -> None:
    """A remark for people, on standard error, so that standard output stays clean."""
    echo(style(message, "dim"), err=True)


class Finite(click.FloatRange):
    """A number in a range. `nan` and infinities are in no range, which click does not see."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number; fails with one line where it is none of the range."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not in the range {self._describe_range()}.", param, ctx)
        return number


class Size(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """Bytes, as `8GB`; `off` is 0."""

    name = "off|SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number; fails with one line where it is no size."""
        from edgexp.engine.vault import parse_limit

        try:
            return value if isinstance(value, int) else parse_limit(str(value))
        except UsageError as error:
            self.fail(str(error), param, ctx)


vault_option = click.option(
    "--vault", type=Size(), default="4GiB", envvar="EDGEXP_VAULT", show_default=True, show_envvar=True, metavar="off|SIZE",
    help="How much disk may hold past episodes as the model has evaluated them, for the layout `apart`; off: none."
)

def _without_sandbox(context: click.Context, _: click.Parameter, value: bool) -> bool:
    """For as long as the command runs, what makes environments finds it in EDGEXP_NO_SANDBOX."""
    if value:
        before = os.environ.get("EDGEXP_NO_SANDBOX", "")
        os.environ["EDGEXP_NO_SANDBOX"] = "1"
        context.call_on_close(lambda: os.environ.update(EDGEXP_NO_SANDBOX=before))
    return value


sandbox_option = click.option("--no-sandbox", is_flag=True, expose_value=False, callback=_without_sandbox,
                              help="Let the commands of shell tasks run with your own rights, where there is no bubblewrap.")

MOST_EPISODES = 1_000_000_000
"""Of episodes, and of anything else that is counted: more is a slip."""

steps_option = click.option("--steps", type=click.IntRange(1, MOST_EPISODES), default=None,
                            help="Most actions in an episode.  [default: the environment's]")

gpu_layers_option = click.option("--gpu-layers", type=click.IntRange(-1, 10_000), default=0, show_default=True,
                                 help="Layers of the model to put on a GPU, if llama-cpp-python was built for one.")


def task_options(split: str) -> Callable[[F], F]:
    """`--split`, `--task`, `--type`, `--group` and `--seed`, for commands that play tasks. `split` is the one they prefer."""

    def add(command: F) -> F:
        for option in reversed([
            click.option("--split", default=None,
                         help=f"Take tasks from this split of the environment.  [default: {split}, or else its first]"),
            click.option("--task", "task_ids", multiple=True, metavar="ID", help="Take this task. May be given more than once."),
            click.option("--type", "types", multiple=True, metavar="TYPE",
                         help="Take only tasks of this type. May be given more than once."),
            click.option("--group", metavar="NAME",
                         help="Take only types of task of this group: easy or hard, as the paper has them; `home` has own-past too."),
            click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True,
                         help="Decides which tasks are drawn and how actions are sampled."),
        ]):
            command = option(command)
        return command

    return add


def memory_options(command: F) -> F:
    """How memory is used: the fields of `edgexp.retrieval.Retrieval`, by their names."""
    for option in reversed([
        click.option("-k", type=click.IntRange(0, 64), default=2, show_default=True,
                     help="Past episodes to put into the prompt; 0 for none."),
        click.option("--memory", type=click.Choice(["static", "dynamic", "off"]), default="static", show_default=True,
                     help="static: recall once, for the task. dynamic: recall again as the episode goes on. off: no memory."),
        click.option("--every", type=click.IntRange(1, MOST_EPISODES), default=1, show_default=True,
                     help="With dynamic memory: recall again after this many actions."),
        click.option("--diversity", type=Finite(0, 1), default=None,
                     help="Prefer past episodes that differ (MMR). 1 looks at relevance only, 0 at difference only."),
        click.option("--layout", type=click.Choice(["auto", "chained", "apart"]), default="auto", show_default=True,
                     help="chained: past episodes one after the other. apart: each by itself, so that it is evaluated once and then "
                          "attached. auto: what the model was trained for."),
        click.option("--frame/--no-frame", default=True, show_default=True,
                     help="Look at the words that recur among goals, where the bank shows that they tell how things are done."),
        click.option("--usefulness/--no-usefulness", default=True, show_default=True,
                     help="Prefer past episodes that helped. The bank's log counts how episodes ended that had them in the prompt."),
        click.option("--failures", type=click.Choice(["alike", "warn", "none"]), default="alike", show_default=True,
                     help="Past episodes that failed. alike: recall them like others. warn: at most one, besides those that succeeded. "
                          "none: never."),
    ]):
        command = option(command)
    return command


SERVER_OPTIONS = (
    click.option("--api-key-env", default=None, metavar="NAME",
                 help="With a server: the environment variable that holds its key.  [default: EDGEXP_API_KEY, where that is set]"),
    click.option("--answer-seconds", type=Finite(0.1, 86_400), default=None,
                 help="With a server: how long an answer may take, asking again included.  [default: 180]"),
)
"""How a server that has the model is asked."""


def server_options(command: F) -> F:
    """`--api-key-env` and `--answer-seconds`."""
    for option in reversed(SERVER_OPTIONS):
        command = option(command)
    return command


def acting_options(command: F) -> F:
    """Who acts and how: fields of `edgexp.play.session.Settings`, by their names."""
    for option in reversed([
        click.option("--model", default=None,
                     help="A name from `edgexp models ls`, the path of a GGUF, or a server: http://localhost:8080/v1#name.  "
                          "[default: edgexp's own]"),
        *SERVER_OPTIONS,
        click.option("--actions", type=click.Choice(["admissible", "scored", "free"]), default=None,
                     help="admissible: choose among the valid actions. scored: also compute every one's exact probability. "
                          "free: the model writes what it likes.  "
                          "[default: admissible, or free where the environment lists no valid actions]"),
        click.option("--repeats", type=click.IntRange(0, MOST_EPISODES), default=1, show_default=True,
                     help="How often the model may choose the same action where it sees the same thing; in all, twice as often. "
                          "This keeps it from walking in circles. 0: no limit."),
        click.option("--context", type=click.IntRange(256, 2**20), default=None,
                     help="Room for the prompt and the episode, in tokens.  [default: the model's, at most 8192]"),
        click.option("--temperature", type=Finite(0, 100), default=0.0, show_default=True,
                     help="How much chance decides. 0: always the likeliest action."),
        click.option("--think", type=click.IntRange(0, 2**16), default=0, show_default=True, metavar="TOKENS",
                     help="Let the model think before each action, so long at most. Thoughts are shown and not remembered."),
        click.option("--template", default=None, callback=_template,
                     help="Chat template in place of the model's own: a name such as chatml (see docs/templates.md), another one in "
                          "the model's file, or a file of Jinja."),
        gpu_layers_option,
        vault_option,
        click.option("--parallel", type=click.IntRange(1, 64), default=1, show_default=True, help="Episodes at once."),
    ]):
        command = option(command)
    return command


def settings_of(options: dict[str, Any]) -> "Settings":
    """The settings of a session, from the options of `memory_options`, `acting_options` and others named like its fields."""
    from edgexp.play.session import Settings

    given = {name: value for name, value in options.items() if value is not None}
    return Settings(**given, insist="actions" in given)


def _template(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """The text of a template's file; a name stays what it is."""
    from edgexp.files import decode_text, shown

    try:
        return decode_text(Path(value).read_bytes(), shown(value)) if value and Path(value).is_file() else value
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return value  # a template itself, not where it is
        raise


def ray_options(command: F) -> F:
    """`--ray` and `--workers`, for commands whose episodes may be played on other machines; `cluster_of` takes them."""
    for option in reversed([
        click.option("--ray", "ray", default=None, metavar="auto|ADDRESS",
                     help="Play on the machines of a Ray cluster: auto is the one that runs on this machine, local a new one on this "
                          "machine only. Each worker plays --parallel episodes at once."),
        click.option("--workers", type=click.IntRange(1, 4096), default=None,
                     help="With --ray: workers in all.  [default: one on each machine]"),
    ]):
        command = option(command)
    return command


@contextmanager
def cluster_of(ray: str | None, workers: int | None) -> "Iterator[Cluster | None]":
    """The cluster that options name, connected to; None where episodes are played in this process."""
    if ray is None:
        if workers is not None:
            raise UsageError("--workers are those of a Ray cluster: name it with --ray")
        yield None
        return
    from edgexp.cluster.far import Cluster
    from edgexp.cluster.ray_link import connected

    with connected(ray) as link:
        yield Cluster(link, workers, say)


encoder_option = click.option("--encoder", metavar="NAME", help="Encoder, by name or folder.  [default: the one that made the bank]")


def filter_options(command: F) -> F:
    """`--env`, `--won/--lost`, `--source`, `--split`, `--type`, `--group`; they arrive as one dictionary of keywords for Filters."""
    for option in reversed([
        click.option("--env", "environment", metavar="NAME", help="Only episodes of this environment."),
        click.option("--won/--lost", "success", default=None, help="Only episodes that succeeded, or only those that failed."),
        click.option("--source", type=click.Choice(["expert", "agent", "import", "person", "takeover"]),
                     help="Only episodes from this kind of player."),
        click.option("--split", help="Only episodes of tasks of this split."),
        click.option("--type", "task_type", metavar="TYPE", help="Only episodes of tasks of this type."),
        click.option("--group", metavar="NAME",
                     help="Only episodes of this group of types of task: easy or hard, as the paper has them, or another."),
    ]):
        command = option(command)
    return command


status_option = click.option(
    "--status", type=click.Choice(["accepted", "quarantined", "all"]), default="all", show_default=True,
    help="Only what episodes may remember, only what waits in quarantine, or all."
)


@contextmanager
def reading(path: Path | None) -> "Iterator[Bank]":
    """The bank, open for reading, without an encoder."""
    from edgexp.bank import Bank, default_path

    with Bank.open(path or default_path(), readonly=True) as opened:
        yield opened


@contextmanager
def writing(path: Path | None, create: bool = False) -> "Iterator[Bank]":
    """The bank, open for writing, without an encoder."""
    from edgexp.bank import Bank, default_path

    with Bank.open(path or default_path(), create=create) as opened:
        yield opened


def use_encoder(opened: "Bank", named: str | None) -> None:
    """Open the encoder that was named, or else the one the bank was made with, or else the default one, and give it to the bank."""
    opened.use(encoder_for(opened, named))


def encoder_for(opened: "Bank", named: str | None) -> "Encoder":
    """The encoder that was named, or else the one the bank was made with, or else the default one."""
    if named or not opened.encoder_name:
        return encoder_named(named)
    try:
        return encoder_named(opened.encoder_name)
    except UsageError as error:
        raise EdgexpError(f"{opened.path} was made with the encoder {opened.encoder_name}, no model of that name is known: "
                          "give its folder with --encoder") from error


def encoder_named(name: str | None) -> "Encoder":
    """An encoder by name or folder; without a name the default one."""
    from edgexp.embedding import Encoder
    from edgexp.models import DEFAULT_EMBEDDER, resolve

    ready = resolve(name or DEFAULT_EMBEDDER, role="embedder", say=say)
    return Encoder.open(ready.path, name=ready.name)


def filters_of(chosen: dict[str, Any]) -> "Filters":
    from edgexp.bank import Filters

    return Filters(**chosen)


def status_of(chosen: str) -> "Status | None":
    return None if chosen == "all" else cast("Status", chosen)


@contextmanager
def progress_bar(label: str, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A progress bar, as something to be told how much is done and of how much."""
    from edgexp.progress import Bars

    with Bars(quiet=quiet) as bars:
        yield lambda done, total: bars.tell(label, done, total)


def print_lines(values: Iterable[Any]) -> None:
    for value in values:
        print_json(value)


def print_json(value: Any) -> None:
    import msgspec

    echo_json(msgspec.json.encode(value))
