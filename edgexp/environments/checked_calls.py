"""The boundary around an environment's tools: what it offers is checked before anybody sees it, and what it is asked for is valid.

Knows no environment by name. See `boundary.py`, whose part this is.
"""

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any

from edgexp.environments import plain, schemas
from edgexp.environments.base import Environment, most_calls_of, reads_calls, tools_of, valid_actions_of
from edgexp.environments.calls import BadCall, Tool, read_calls, shape_of
from edgexp.errors import EdgexpError

MOST_TOOLS = 1_000
LONGEST_DESCRIPTION = 65_536
"""Characters."""
LONGEST_SCHEMA = 1_000_000
"""Characters of a tool's parameters, as JSON."""


def checked_tools(found: object, owner: str, *, going: bool) -> list[Tool]:
    """What `tools()` returned, as plain tools whose schemas can be read. Raises EdgexpError, in one line, for anything else.

    `going`: an episode is under way, in which something has to be callable.
    """
    what = "what tools() returned"
    if isinstance(found, str | bytes | bytearray | Mapping | Tool) or not isinstance(found, Iterable):
        plain.refuse(found, owner, what, "a list of tools is wanted")
    given = list(islice(found, MOST_TOOLS + 1))
    if len(given) > MOST_TOOLS:
        raise EdgexpError(f"{owner}: {what} has more than {MOST_TOOLS:,} tools, and that is the most allowed")
    offered = [_tool(one, owner, f"tool {number} of {what}") for number, one in enumerate(given, 1)]
    names = [tool.name for tool in offered]
    if twice := next((name for place, name in enumerate(names) if name in names[:place]), None):
        raise EdgexpError(f"{owner}: {what} has two tools called {plain.shown(twice)}")
    callable_now = [tool for tool in offered if shape_of(tool) is not None]
    if going and not callable_now:
        raise EdgexpError(f"{owner}: {what} has nothing that can be called, but the episode is not over")
    return callable_now


def bad_call(action: str, environment: Environment) -> str:
    """Why an action is no valid call now, in one line; empty where it is one, or not for us to judge."""
    list_tools = tools_of(environment)
    if list_tools is None or reads_calls(environment) or valid_actions_of(environment) is not None:
        return ""
    try:
        read_calls(action, list_tools(), most_calls_of(environment))
    except BadCall as error:
        return plain.one_line(str(error))
    return ""


def _tool(value: object, owner: str, what: str) -> Tool:
    if not isinstance(value, Tool):
        plain.refuse(value, owner, what, "an edgexp.environments.calls.Tool is wanted")
    name = plain.text(value.name, owner, f"the name of {what}")
    if not name:
        raise EdgexpError(f"{owner}: the name of {what} is empty")
    description = plain.text(value.description, owner, f"the description of {what}", LONGEST_DESCRIPTION)
    parameters = _parameters(value.parameters, owner, f"the parameters of {plain.shown(name)}")
    tool = Tool(name, description, parameters)
    try:
        shape_of(tool)
    except EdgexpError as error:
        raise EdgexpError(f"{owner}: {plain.one_line(str(error))}") from error
    return tool


def _parameters(value: object, owner: str, what: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        plain.refuse(value, owner, what, "a JSON schema of type object is wanted")
    try:
        written = json.dumps(_plain(value, 0), allow_nan=False, ensure_ascii=False)
        written.encode()
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise EdgexpError(f"{owner}: {what} cannot be written as JSON: {plain.explain(error)}") from error
    if len(written) > LONGEST_SCHEMA:
        raise EdgexpError(f"{owner}: {what} have {len(written):,} characters, and at most {LONGEST_SCHEMA:,} are allowed")
    return _read_again(written)


def _plain(value: Any, depth: int) -> Any:
    """JSON values out of what holds them; a tuple is a list, and NumPy's scalars are what they hold."""
    if depth > 4 * schemas.DEEPEST:
        raise ValueError("it is nested too deeply")
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("a key is no text")
        return {str.__str__(key): _plain(one, depth + 1) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, depth + 1) for one in value]
    scalar = plain.scalar(value)
    return str.__str__(scalar) if isinstance(scalar, str) else scalar


@lru_cache(maxsize=512)
def _read_again(written: str) -> dict[str, Any]:
    """The same object for the same schema: it is read into its shape once."""
    found: dict[str, Any] = json.loads(written)
    return found
