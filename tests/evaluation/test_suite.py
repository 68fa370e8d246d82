"""Suites: strict, named errors, shown in full; and the tasks and memories that follow from them."""

import msgspec
import pytest

from edgexp.environments.registry import make
from edgexp.errors import EdgexpError, UsageError
from edgexp.evaluation import experience, suite
from edgexp.evaluation.suite import Condition, Experience, Tasks, parse, show
from edgexp.retrieval import Filters
from edgexp.training import recipe

PLAIN = "[[conditions]]\nname = 'plain'\n"


@pytest.mark.parametrize("name", sorted(suite.files()))
def test_every_suite_that_comes_with_edgexp_reads_and_shows(name):
    found, made = suite.load(name)
    assert found == name and made.description and made.against in [c.name for c in made.conditions]
    assert parse(show(made), "shown") == made
    assert suite.load(f"eval-{name}")[1] == made


def test_the_suites_are_all_there_and_are_no_recipes():
    assert suite.files().keys() == {"household", "alfworld", "scienceworld", "treatments", "worlds", "home", "smoke"}
    assert not any(name.startswith("eval-") for name in recipe.files())


@pytest.mark.parametrize("name", ["household", "alfworld", "scienceworld"])
def test_the_papers_conditions_are_there(name):
    conditions = suite.load(name)[1].conditions
    assert {c.bank for c in conditions} == {"matched", "mismatched", "all", "empty"}
    assert all(c.model for c in conditions), "edgexp's own model may change; what is compared may not"
    assert {c.model for c in conditions if c.remembers} >= {c.model for c in conditions if not c.remembers}


@pytest.mark.parametrize(("text", "said"), [
    ("", "Object missing required field `conditions`"),
    ("conditions = []", "conditions: expected `array` of length >= 1"),
    (PLAIN + "k = -1", r"conditions\[0\].k: expected `int` >= 0"),
    (PLAIN + "K = 1", r"conditions\[0\].K: there is no such setting"),
    (PLAIN + "memory = 'statc'", r"conditions\[0\].memory: invalid enum value 'statc'"),
    (PLAIN + "actions = 'any'", r"conditions\[0\].actions: invalid enum value"),
    ("[[conditions]]\nname = ''", r"conditions\[0\].name: expected"),
    (PLAIN + PLAIN, r"conditions\[1\].name: 'plain' is the name of two conditions"),
    ("baseline = 'x'\n" + PLAIN, "baseline: no condition is called 'x'; there are: plain"),
    (PLAIN + "[[tasks]]\nnumber = 0", r"tasks\[0\].number: expected `int` >= 1"),
    (PLAIN + "[[tasks]]\nsplits = []", r"tasks\[0\].splits: expected"),
    (PLAIN + "[[tasks]]\nexperience = { banks = 'x' }", r"tasks\[0\].experience.banks: there is no such setting"),
    (PLAIN + "[[tasks]]\n[[tasks]]\nsplits = ['test']", r"tasks\[1\].environment: household is in two entries"),
    (PLAIN + "[[tasks]]\ngroups = ['easy', 'easy']", r"tasks\[0\].groups: a group is named twice"),
    ("[conditions\n", "not TOML"),
])
def test_what_is_wrong_is_named_with_file_and_key(text, said):
    with pytest.raises(EdgexpError, match=rf"^mine\.toml: {said}"):
        parse(text, "mine.toml")


def test_unknown_suites_and_changes(tmp_path):
    with pytest.raises(UsageError, match=r"no suite is called 'nope'.*there are: alfworld, home, household"):
        suite.load("nope")
    (tmp_path / "eval-mine.toml").write_text(PLAIN)
    name, made = suite.load(str(tmp_path / "eval-mine.toml"), ["tasks.number=7", "conditions.k=3", "context=1024"])
    assert (name, made.tasks[0].number, made.conditions[0].k, made.context) == ("mine", 7, 3, 1024)


def test_more_tasks_keep_those_of_fewer():
    household = make("household")
    few, many = (experience.draw(household, Tasks(groups=("easy", "hard"), number=n)) for n in (7, 30))
    for group in ("easy", "hard"):
        small, large = ([t for t in tasks if t.group == group] for tasks in (few, many))
        assert len(small) == 7 and large[:7] == small and len({t.type for t in small}) == 3
    assert experience.draw(household, Tasks(seed=1)) != experience.draw(household, Tasks(seed=2))


@pytest.mark.parametrize(("tasks", "said"), [
    (Tasks(groups=("middling",)), "household has no task of group middling in its split dev"),
    (Tasks(types=("dance",)), "household has no task of type dance in its split dev"),
    (Tasks(splits=("nowhere",)), "household has no split 'nowhere'"),
])
def test_tasks_that_do_not_exist(tasks, said):
    with pytest.raises(UsageError, match=said):
        experience.draw(make("household"), tasks)


def memory_of(bank, task, **settings):
    condition = Condition(name="c", k=2, bank=bank)
    return experience.filters(condition, Tasks(experience=Experience(**settings)), task)


def test_what_a_task_may_remember_by_the_kind_of_bank():
    hard = make("household").tasks("dev")[4]
    assert hard.group == "hard"
    assert memory_of("matched", hard) == Filters(environment="household", split="train", group="hard")
    assert memory_of("mismatched", hard) == Filters(environment="household", split="train", group="easy")
    assert memory_of("all", hard) == Filters(environment="household", split="train")
    assert memory_of("empty", hard) is None
    assert memory_of("/a/folder", hard) == Filters(environment="household")
    assert experience.filters(Condition(name="c", k=0), Tasks(), hard) is None
    assert experience.filters(Condition(name="c", k=2, memory="off"), Tasks(), hard) is None


def test_tasks_without_groups_are_misled_by_another_split():
    world = make("worlds").tasks("dev")[0]
    assert memory_of("matched", world, split="dev-bank") == Filters(environment="worlds", split="dev-bank")
    assert memory_of("mismatched", world, mismatched="test-bank") == Filters(environment="worlds", split="test-bank")
    with pytest.raises(UsageError, match="no groups, so that none mismatch"):
        memory_of("mismatched", world)


def test_experience_of_the_same_places():
    worlds = make("worlds")
    tasks = Tasks("worlds", ("dev",), number=4, experience=Experience(split="dev-bank", mismatched="test-bank", same_places=True))
    played = experience.draw(worlds, tasks)
    wanted = experience._wanted(worlds, tasks, played)
    near = [t for t in wanted if t.split == "dev-bank"]
    assert {t.id.split("/")[2] for t in near} == {t.id.split("/")[2] for t in played}
    assert len(near) == 9 * len({t.id.split("/")[2] for t in played})
    assert sum(t.split == "test-bank" for t in wanted) == len(near)


def test_what_decides_what_the_own_bank_holds_is_in_its_name():
    """So that no evaluation adds to the bank of another one."""
    same, other = [Tasks(), Tasks(number=60), Tasks(steps=9), Tasks(splits=("test",))], [
        Tasks(seed=1), Tasks("worlds"), Tasks(experience=Experience(number=60)), Tasks(experience=Experience(split="dev")),
        Tasks(experience=Experience(same_places=True)), Tasks(number=60, experience=Experience(same_places=True)),
        Tasks(groups=("easy",), experience=Experience(same_places=True)),
    ]  # fmt: skip
    names = [experience.folder("mine", tasks).name for tasks in [*same, *other]]
    assert len(set(names[: len(same)])) == 1 and len(set(names)) == 1 + len(other)
    assert all(name.startswith("eval-mine-") for name in names)


def test_where_the_bank_lies(tmp_path):
    assert experience.folder("mine", Tasks(experience=Experience(bank=str(tmp_path)))) == tmp_path
    named = Condition(name="c", k=1, bank=str(tmp_path / "other"))
    assert experience.banks("mine", named, Tasks()) == tmp_path / "other"
    assert experience.banks("mine", msgspec.structs.replace(named, k=0), Tasks()) is None
