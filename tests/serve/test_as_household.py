"""A client that knows nothing of edgexp plays household tasks through the server, and does just what `edgexp run --actions free` does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from serve_toys import Running, serving

from edgexp.bank import Bank, Filters
from edgexp.embedding import Encoder
from edgexp.environments.registry import make
from edgexp.play.collecting import expert_episodes
from edgexp.play.fleet import Environments
from edgexp.play.session import Settings, open_session
from edgexp.serve.opening import CHAINED_POLICY, ServeSettings, open_service
from edgexp.trajectory import Task

pytestmark = pytest.mark.slow
STEPS, CONTEXT = 3, 4096


@pytest.fixture(scope="module")
def bank(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank with a few household episodes of the expert."""
    path = tmp_path_factory.mktemp("experience") / "bank"
    with Environments() as environments, Bank.open(path, encoder) as bank:
        tasks = environments.at("household").tasks("train")[:12]
        bank.add([one.trajectory for one in expert_episodes(environments, "household", tasks) if one.trajectory])
        assert bank.count(Filters(environment="household", success=True)) > 8
    return path


@pytest.fixture(scope="module")
def server(bank: Path, policy_path: Path, encoder_folder: Path) -> Iterator[Running]:
    """The real model and the bank behind a server."""
    settings = ServeSettings(model=CHAINED_POLICY, bank=bank, environment="household", context=CONTEXT, slots=2)
    with open_service(settings, print) as service, serving(service) as running:
        yield running


def client_plays(server: Running, task: Task) -> tuple[list[str], list[str]]:
    """The actions of a client of OpenAI's protocol, and what was recalled for it."""
    environment = make("household")
    start = environment.reset(task)
    messages = [{"role": "system", "content": environment.instructions()},
                {"role": "user", "content": f"{start.observation}\n\nYour task is to: {start.goal}"}]  # fmt: skip
    actions, recalled = [], []
    for _ in range(STEPS):
        body: dict[str, Any] = {"model": "any", "messages": messages, "stop": ["\n"], "max_tokens": 64}
        told = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=120).json()
        recalled = [one["id"] for one in told["edgexp"]["recalled"]]
        actions.append(told["choices"][0]["message"]["content"])
        outcome = environment.step(actions[-1].strip())
        messages += [{"role": "assistant", "content": actions[-1]}, {"role": "user", "content": outcome.observation}]
        if outcome.done:
            break
    return actions, recalled


def test_it_does_what_a_run_in_free_mode_does(server, bank):
    tasks = make("household").tasks("dev")[:2]
    settings = Settings(model=CHAINED_POLICY, bank=bank, context=CONTEXT, actions="free", repeats=0)  # a server cannot see circles
    with open_session(settings, in_use=True) as session:
        played = [one.played for one in session.play(tasks, steps=STEPS)]
    for task, run in zip(tasks, played, strict=True):
        assert run is not None
        actions, recalled = client_plays(server, task)
        assert recalled == [one.id for recall in run.recalls for one in recall.used] and recalled
        assert [action.strip() for action in actions] == [step.action for step in run.trajectory.steps]
