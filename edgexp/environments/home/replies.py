"""One request being answered: calls change a home until one of them ends the episode, and then a judge says whether all is as asked for.

An episode ends as a turn of conversation does in Home Assistant: with an answer. `Done()` is one, and so is any text that is no call; a
text that was meant to be a call gets the reason why it is none. Knows nothing of what is asked for; the judge does.
"""

import re
from collections.abc import Callable

from edgexp.environments.base import Outcome
from edgexp.environments.calls import BadCall, Call, Tool, parse_calls
from edgexp.environments.home import assist, telling
from edgexp.environments.home.inventory import House
from edgexp.environments.home.offered import ANSWER, FINISH, offered
from edgexp.errors import EdgexpError

MOST_CALLS = 10
"""Calls that one action may be, when somebody writes so many."""
_LIKE_A_CALL = re.compile(r'\s*"?\w*\(|\s*(Hass\w+|todo_\w+|Get\w+)\b')
_WORD = re.compile(r"[\w'’-]+")
_LONGEST_PHRASE, _MOST_WORDS = 4, 16
ENDED = "The turn is over."

Judge = Callable[[House, str], bool]
"""Whether the home is as it is wanted, at the end, after that reply."""


class Answering:
    """The episode under way."""

    def __init__(self, house: House, goal: str, judge: Judge, *, answers: bool = False) -> None:
        """`answers` is as in `offered`."""
        self.house = house
        self._judge, self._examples, self._answers = judge, phrases(goal), answers
        self.over = False

    def tools(self) -> list[Tool]:
        """What may be called now; nothing once the turn is over."""
        return [] if self.over else offered(self.house, self._examples, answers=self._answers)

    def act(self, action: str) -> Outcome:
        """Take an action, any text at all."""
        if self.over:
            raise EdgexpError("the episode is over: reset the environment before the next action")
        try:
            calls = parse_calls(action)
        except BadCall as error:
            return Outcome(f"Error: {error}") if _LIKE_A_CALL.match(action) else self._end("", action)
        if len(calls) > MOST_CALLS:
            return Outcome(f"Error: {len(calls)} calls are too many: at most {MOST_CALLS} may be made at once")
        told = list[str]()
        for call in calls:
            if call.name in (FINISH, ANSWER):
                return self._end(" ".join(told), _reply(call))
            told.append(self.carry_out(call))
        return Outcome(" ".join(told))

    def carry_out(self, call: Call) -> str:
        """What a call led to, in words."""
        done = assist.carry_out(self.house, call.name, call.arguments)
        return f"Error: {done.problem}." if done.problem else telling.tell(self.house, done.served)

    def _end(self, told: str, reply: str) -> Outcome:
        self.over = True
        won = self._judge(self.house, reply)
        return Outcome(f"{told} {ENDED}".strip(), float(won), True, won, float(won))


def _reply(call: Call) -> str:
    return str(call.arguments.get("text", ""))



def phrases(goal: str) -> tuple[str, ...]:
    """Whatever a request may want written down: its stretches of a few words. Nothing tells which of them is meant."""
    words = _WORD.findall(goal)[:_MOST_WORDS]
    found = (" ".join(words[start : start + count]) for count in range(1, _LONGEST_PHRASE + 1) for start in range(len(words) - count + 1))
    return tuple(dict.fromkeys(found))
