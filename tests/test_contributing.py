"""The policy that CONTRIBUTING.md shows is complete: it plays, without an engine."""

import re
from pathlib import Path

from toys import Counting

from edgexp.play.episode import play
from edgexp.play.rollout import run


def test_the_policy_in_contributing_plays():
    text = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (source,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, type] = {}
    exec(source, names)
    environment, asked = Counting(), []

    def ask(goal, steps):
        asked.append((goal, len(steps)))
        return "wait"

    played = run(play(environment, environment.tasks("train")[0], names["AskServer"](ask), max_steps=2))
    assert [step.action for step in played.trajectory.steps] == ["wait", "wait"]
    assert [number for _, number in asked] == [0, 1] and asked[0][0] == played.trajectory.goal
