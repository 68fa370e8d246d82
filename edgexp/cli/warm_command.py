"""`edgexp bank warm`: evaluate past episodes before they are needed."""

from typing import Any

import click

from edgexp.cli.options import MOST_EPISODES, acting_options, bank_option, json_option, print_json, reading, say, settings_of
from edgexp.environments.registry import DEFAULT_ENVIRONMENT
from edgexp.terminal import echo


@click.command()
@click.argument("environment", default=DEFAULT_ENVIRONMENT)
@bank_option
@acting_options
@click.option("-n", "--number", type=click.IntRange(0, MOST_EPISODES), default=0, show_default=True,
              help="At most so many episodes, the newest. 0: all.")
@json_option
def warm(number: int, as_json: bool, **options: Any) -> None:
    """Evaluate past episodes of ENVIRONMENT before they are needed.

    A model whose memory stands apart attaches a past episode to its prompt instead of reading it again. It has to read it once for that.
    This command does so beforehand. You can interrupt it and start it again. It needs disk: about 10 MB an episode with the default
    model; `edgexp doctor` shows how much is used.

    \b
    Examples:
      edgexp bank warm
      edgexp bank warm household -n 200 --model my-model.gguf
    """
    from contextlib import closing

    from edgexp.bank import Filters
    from edgexp.environments.registry import make
    from edgexp.errors import EdgexpError
    from edgexp.play.session import open_session
    from edgexp.play.warming import warm as warm_episodes
    from edgexp.progress import Bars

    with reading(options["bank"]) as bank, closing(make(options["environment"])) as environment:
        name = environment.name
        entries = bank.entries(Filters(environment=name), "accepted", number or -1)
        episodes = bank.read([entry.id for entry in entries])
    if not episodes:
        raise EdgexpError(f"the bank holds no episodes of {name}; collect some with: edgexp collect {options['environment']}")
    settings = settings_of(options | {"layout": "apart", "memory": "off"})
    with open_session(settings, say) as session, Bars(quiet=as_json) as bars:
        assert session.fleet is not None
        renderer = session.renderer(settings.environment, "apart")
        warmed = warm_episodes(session.fleet.source, renderer, episodes, lambda done: bars.tell("warming", done, len(episodes)))
    if as_json:
        print_json(warmed)
    else:
        echo(f"{warmed.episodes:,} episodes: {warmed.known:,} were known, {warmed.tokens_evaluated:,} tokens evaluated; "
             f"they take {warmed.bytes / 1e6:,.0f} MB")
