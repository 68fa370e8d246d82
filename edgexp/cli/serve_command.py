"""`edgexp serve`: an OpenAI-compatible server with memory."""

import os
from typing import Any

import click

from edgexp.cli.options import Finite, _template, bank_option, gpu_layers_option, memory_options, say, server_options
from edgexp.terminal import echo

MOST = 1_000_000


@click.command()
@click.option("--model", default=None, help="A name from `edgexp models ls`, or the path of a GGUF.  [default: smollm2-135m-exprag]")
@click.option("--upstream", default="", metavar="URL", help="Answer by another server: http://localhost:8080/v1#name.")
@server_options
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen. Anywhere but on this machine a token is needed.")
@click.option("--port", type=click.IntRange(0, 65535), default=8321, show_default=True, help="0: any that is free.")
@click.option("--allow-host", "names", multiple=True, metavar="NAME", help="Another name of this machine. May be given more than once.")
@bank_option
@memory_options
@click.option("--memory-tokens", type=click.IntRange(0, MOST), default=2048, show_default=True,
              help="Room for past episodes in a prompt, in tokens.")
@click.option("--environment", default="chat", show_default=True, metavar="NAME",
              help="Keep sessions under this name, and recall episodes of it.")
@click.option("--encoder", default=None, metavar="NAME", help="Encoder, by name or folder.  [default: edgexp's own]")
@click.option("--record/--no-record", default=True, show_default=True, help="Keep sessions: in a log, then in the bank's quarantine.")
@click.option("--redact", multiple=True, metavar="PATTERN",
              help="A regular expression of what is never kept, beside keys, tokens and passwords. May be given more than once.")
@click.option("--no-redaction", is_flag=True, help="Keep keys, tokens and passwords as they are.")
@click.option("--slots", type=click.IntRange(1, 64), default=4, show_default=True,
              help="Answers at once. As many sessions stay in the model's memory.")
@click.option("--context", type=click.IntRange(256, 2**20), default=None,
              help="Room for a conversation, in tokens.  [default: the model's, at most 8192]")
@click.option("--max-tokens", type=click.IntRange(1, MOST), default=1024, show_default=True, help="The longest answer, in tokens.")
@click.option("--temperature", type=Finite(0, 100), default=0.0, show_default=True, help="Where a request does not say.")
@click.option("--template", default=None, callback=_template, help="Chat template in place of the model's own, as in `edgexp run`.")
@gpu_layers_option
@click.option("--sessions", type=click.IntRange(1, MOST), default=1000, show_default=True, help="Sessions that can go on.")
@click.option("--waiting", type=click.IntRange(1, MOST), default=64, show_default=True, help="Requests under way; more are refused.")
@click.option("--connections", type=click.IntRange(1, MOST), default=256, show_default=True, help="Open connections; more are refused.")
@click.option("--body", type=click.IntRange(1, 1024), default=4, show_default=True, help="The longest body of a request, in megabytes.")
@click.option("--idle", type=Finite(0, 1e6), default=300.0, show_default=True,
              help="Seconds until a session goes into the bank's quarantine.")
def serve(**options: Any) -> None:
    """Serve a model to any program that speaks the OpenAI protocol, with memory of past sessions.

    A request that goes on with an earlier conversation is recognised by its messages. The first message of a conversation recalls past
    ones that ended well or badly; say how one ended by POST /v1/sessions/ID/outcome, or on the page that this server shows at /.
    Only this machine can reach it, unless --host says otherwise. EDGEXP_SERVE_TOKEN is the token that clients then need; without it one
    is made and shown.

    \b
    Examples:
      edgexp serve                             at http://127.0.0.1:8321/v1
      edgexp serve --model ./mine.gguf --slots 8     eight answers at once
      edgexp serve --upstream http://localhost:8080/v1#qwen
      edgexp serve --bank banks/mine -k 3      three past sessions in a prompt
      edgexp serve --environment household     recall household episodes
      EDGEXP_SERVE_TOKEN=secret edgexp serve --host 0.0.0.0
    """
    _need_libraries()
    from edgexp.serve.app import make_app
    from edgexp.serve.guard import Rules
    from edgexp.serve.listening import bind, listen
    from edgexp.serve.opening import open_service

    host, port = options["host"], options["port"]
    listening = bind(host, port)  # before anything that takes long
    with listening, open_service(_settings(options), say) as service:
        token, made = _token(host)
        rules = Rules(host, options["names"], token, options["body"] << 20)
        where = _address(host, listening.getsockname()[1])

        def ready() -> None:
            echo(f"{where}/v1 has {service.model.name}; the page is at {where}/" + (f"#token={token}" if made else ""))

        number = listen(make_app(service, rules), listening, options["connections"], ready)
    say("stopped; sessions are kept")
    raise click.exceptions.Exit(128 + number if number else 0)


def _need_libraries() -> None:
    """Raise UsageError where the extra is not installed."""
    import importlib.util

    from edgexp.errors import UsageError

    if not all(importlib.util.find_spec(name) for name in ("starlette", "uvicorn")):
        raise UsageError("to serve, edgexp needs starlette and uvicorn; install them with: pip install 'edgexp[serve]'")


def _settings(options: dict[str, Any]) -> Any:
    from edgexp.serve.opening import ServeSettings
    from edgexp.serve.service import Limits

    given = {name: options[name] for name in ServeSettings.__struct_fields__ if options.get(name) is not None}
    limits = Limits(options["sessions"], options["waiting"], options["memory_tokens"], options["idle"])
    return ServeSettings(**given, redaction=not options["no_redaction"], limits=limits)


def _token(host: str) -> tuple[str, bool]:
    """The token that clients need, and whether it was made now; empty where none is needed."""
    import secrets

    from edgexp.serve.guard import is_loopback

    given = os.environ.get("EDGEXP_SERVE_TOKEN", "").strip()
    if given or is_loopback(host):
        return given, False
    made = secrets.token_urlsafe(24)
    say(f"clients need the token {made} (EDGEXP_SERVE_TOKEN names another)")
    return made, True


def _address(host: str, port: int) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


