"""Environments: one contract, a registry, and the games that come with edgexp. They know nothing of models, prompts or banks.

`base` is the contract with every optional member, `calls` is how tools are offered and called, `registry` makes environments by name,
`splits` is what splits without end share. The games: `household` (rooms by ALFWorld's rules), `alfworld` (its official game files),
`treatments` and `worlds` (homes and houses that only past episodes explain), `java` (ScienceWorld and TextWorldExpress), and `bridges` to
other people's environments. An environment of one's own imports from here.
"""

from edgexp.environments.base import Environment, Expert, HasAdmissible, HasExpert, Outcome, Start
from edgexp.environments.calls import BadCall, Call, Tool, describe_tools, read_calls, write_call
from edgexp.environments.registry import available, describe_all, make

__all__ = [
    "BadCall", "Call", "Environment", "Expert", "HasAdmissible", "HasExpert", "Outcome", "Start", "Tool", "available", "describe_all",
    "describe_tools", "make", "read_calls", "write_call",
]  # fmt: skip
