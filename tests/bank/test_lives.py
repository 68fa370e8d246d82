"""Two banks beside a dict model: adding, accepting, forgetting, exporting, importing, logging and embedding anew, in any order."""

import tempfile
from pathlib import Path

import msgspec
import pytest
from bank_samples import WordEncoder, trajectory
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from edgexp.bank import Bank, Episode, Filters, Recall, Scored, task_text
from edgexp.errors import EdgexpError, UsageError
from edgexp.trajectory import Provenance, Trajectory, content_id, read_lines

NUMBERS = st.integers(0, 12)
WHICH = st.sampled_from(["one", "two"])
EPISODE = Episode("run", "household", "household/test/1", "t1", True, 1.0, "mock", "2026-11-22T12:00:00+00:00")


def is_import(t: Trajectory) -> bool:
    return t.provenance.source == "import"


class TwoBanks(RuleBasedStateMachine):
    """The model of a bank is a dict of id → (status, trajectory), in the order things were added."""

    episodes = Bundle("episodes")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.encoders = {"one": WordEncoder("first"), "two": WordEncoder("first")}
        self.banks = {name: self.open(name) for name in self.encoders}
        self.models: dict[str, dict[str, tuple[str, Trajectory]]] = {"one": {}, "two": {}}
        self.logged: dict[str, list[str]] = {"one": [], "two": []}

    def open(self, name: str) -> Bank:
        bank = Bank.open(Path(self.folder.name) / name, self.encoders[name])
        bank._store.database.execute("PRAGMA synchronous = OFF")  # nobody pulls the plug here
        return bank

    def take_in(self, name: str, given: list[Trajectory], status: str) -> None:
        """What adding does, said in a few plain lines."""
        model = self.models[name]
        for t in given:
            if t.id not in model:
                model[t.id] = (status, t)
            elif status == "accepted" and (model[t.id][0] == "quarantined" or is_import(model[t.id][1]) > is_import(t)):
                model[t.id] = ("accepted", t)

    @rule(name=WHICH, numbers=st.lists(NUMBERS, max_size=8), status=st.sampled_from(["accepted", "quarantined"]), imported=st.booleans())
    def add(self, name: str, numbers: list[int], status: str, imported: bool) -> None:
        given = list({number: trajectory(number) for number in numbers}.values())
        if imported:
            given = [msgspec.structs.replace(t, provenance=Provenance("import", created="2020-01-01T00:00:00+00:00")) for t in given]
        before = set(self.models[name])
        result = self.banks[name].add(given, status)  # type: ignore[arg-type]
        self.take_in(name, given, status)
        assert set(result.added) == set(self.models[name]) - before
        assert set(result.known) == {t.id for t in given} & before

    @rule(name=WHICH)
    def play_what_was_imported(self, name: str) -> None:
        """An import that is then played here is accepted, and is this one's own from then on."""
        imports = [trajectory(number, source="import") for number in range(5)]
        self.banks[name].add(imports, "quarantined")
        self.take_in(name, imports, "quarantined")
        played = [trajectory(number) for number in range(5)]
        self.banks[name].add(played)
        self.take_in(name, played, "accepted")
        assert self.banks[name].read([t.id for t in played]) == [self.models[name][t.id][1] for t in played]

    @rule(name=WHICH, share=st.integers(1, 4))
    def accept(self, name: str, share: int) -> None:
        model = self.models[name]
        waiting = [identity for identity, (status, _) in model.items() if status == "quarantined"][::share]
        assert self.banks[name].accept(waiting) == len(waiting)
        model.update({identity: ("accepted", model[identity][1]) for identity in waiting})

    @rule(name=WHICH, numbers=st.lists(NUMBERS, max_size=5, unique=True))
    def forget(self, name: str, numbers: list[int]) -> None:
        ids = [trajectory(number).id for number in numbers]
        gone = [identity for identity in ids if self.models[name].pop(identity, None)]
        assert self.banks[name].forget(ids) == len(gone)

    @rule(name=WHICH, status=st.sampled_from([None, "accepted", "quarantined"]), won=st.sampled_from([None, True, False]))
    def export_to_the_other(self, name: str, status: str | None, won: bool | None) -> None:
        lines = list(self.banks[name].export(Filters(success=won), status))  # type: ignore[arg-type]
        read = list(read_lines(lines, "export"))
        assert read == [t for s, t in self.models[name].values() if status in (None, s) and won in (None, t.success)]
        other = "two" if name == "one" else "one"
        self.banks[other].add(read_lines(lines, "export"), "quarantined")
        self.take_in(other, read, "quarantined")

    @rule(name=WHICH, number=NUMBERS, k=st.integers(1, 6))
    def search(self, name: str, number: int, k: int) -> None:
        """What was put in is found by its own text before anything else, if it is accepted; what is not, is never found."""
        wanted, model = trajectory(number), self.models[name]
        accepted = {identity for identity, (status, _) in model.items() if status == "accepted"}
        hits = self.banks[name].search("task", task_text(wanted.goal, wanted.observation), k)
        assert {hit.id for hit in hits} <= accepted and len(hits) == min(k, len(accepted))
        if wanted.id in accepted:
            assert hits[0].id == wanted.id

    @rule(target=episodes, name=WHICH, number=NUMBERS)
    def log(self, name: str, number: int) -> tuple[str, str, Episode]:
        recalls = (Recall(0, "put a mug", 0.5, (Scored(trajectory(number).id, 0.25), Scored("t-gone", 0.125, "budget", 7))),)
        episode = msgspec.structs.replace(EPISODE, run=f"run {number}", recalls=recalls)
        identity = self.banks[name].log_episode(episode)
        self.logged[name].append(identity)
        return name, identity, msgspec.structs.replace(episode, id=identity)

    @rule(logged=episodes)
    def why(self, logged: tuple[str, str, Episode]) -> None:
        """The log outlives whatever it names."""
        name, identity, episode = logged
        assert self.banks[name].why(identity) == episode

    @rule(name=WHICH, encoder=st.sampled_from(["first", "second"]))
    def embed_anew(self, name: str, encoder: str) -> None:
        bank = self.banks[name]
        stored = bank.encoder_name
        self.encoders[name] = WordEncoder(encoder)
        done = bank.rebuild(self.encoders[name])
        assert done == (0 if stored == encoder else len(self.models[name])) and bank.encoder_name == encoder

    @rule(name=WHICH)
    def reopen(self, name: str) -> None:
        self.banks[name].close()
        self.banks[name] = self.open(name)

    @rule(name=WHICH)
    def refuse_what_cannot_be(self, name: str) -> None:
        bank, before = self.banks[name], self.banks[name].fingerprint()
        for wrong in (
            lambda: bank.add([trajectory(99), msgspec.structs.replace(trajectory(98), goal="half a pair \udfff")]),
            lambda: bank.accept(["t-nobody", *self.models[name]]),
            lambda: bank.get("t-nobody"),
            lambda: bank.search("task", "a mug", 0),
        ):
            try:
                wrong()
                raise AssertionError("it was not refused")
            except (UsageError, EdgexpError):
                pass
        assert bank.fingerprint() == before

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        for name, bank in self.banks.items():
            model = self.models[name]
            assert {entry.id: entry.status for entry in bank.entries()} == {identity: status for identity, (status, _) in model.items()}
            assert bank.count(status=None) == len(model)
            assert [episode.id for episode in bank.episodes(1000)] == self.logged[name][::-1]

    @invariant()
    def equal_banks_have_equal_fingerprints_and_others_do_not(self) -> None:
        accepted = [{identity for identity, (status, _) in self.models[name].items() if status == "accepted"} for name in self.banks]
        one, two = self.banks.values()
        same = accepted[0] == accepted[1] and one.encoder_name == two.encoder_name
        assert (one.fingerprint() == two.fingerprint()) == same

    def teardown(self) -> None:
        for name, bank in self.banks.items():
            assert bank.verify() == []
            held = list(bank.each(status=None))
            assert held == [t for _, t in self.models[name].values()]
            assert [content_id(t) for t in held] == list(self.models[name]), "ids follow from what is stored"
            bank.close()
        self.folder.cleanup()


class TestTwoBanks(TwoBanks.TestCase):  # type: ignore[name-defined,misc]
    settings = settings(max_examples=6, stateful_step_count=10, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.slow
class TestManyLives(TwoBanks.TestCase):  # type: ignore[name-defined,misc]
    settings = settings(max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
