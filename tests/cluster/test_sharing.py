"""Who plays what: whatever workers do and whenever they die, each episode is told of once, and none is lost."""

from hypothesis import given
from hypothesis import strategies as st

from edgexp.cluster.sharing import MOST_DEATHS, Desk
from edgexp.cluster.wire import Item, Over, Turn
from edgexp.trajectory import Task

TASK = Task("toy/train/1", "toy", "train", "fetch")


def turns(lengths: list[int]) -> list[Turn]:
    return [Turn(number, tuple(Item(n, TASK) for n in range(length))) for number, length in enumerate(lengths)]


@given(st.lists(st.integers(0, 3), max_size=12), st.integers(1, 4), st.integers(1, 3), st.data())
def test_each_episode_is_over_once_whoever_dies(lengths: list[int], workers: int, places: int, data: st.DataObject) -> None:
    made = turns(lengths)
    wanted = {(turn.number, item.position) for turn in made for item in turn.items}
    desk, told, held, deaths = Desk(iter(made)), list[tuple[int, int]](), {n: list[Turn]() for n in range(workers)}, 0
    for number in range(workers):
        desk.join(number, places)
    while not desk.done:
        number = data.draw(st.integers(0, workers - 1))
        held[number] += desk.hand_out(number)
        assert len(held[number]) <= places + 1
        if deaths < 20 and data.draw(st.booleans()):
            deaths += 1
            told += [(turn, item.position) for turn, item in desk.leave(number)]
            held[number] = []
            desk.join(number, places)
        elif held[number]:
            turn = held[number][0]
            over = Over(turn.number, turn.items[0].position, None, "x")
            assert desk.note(number, over) and not desk.note(number, over)
            told.append((over.turn, over.position))
            left = turn.items[1:]
            held[number] = ([Turn(turn.number, left)] if left else []) + held[number][1:]
    assert sorted(told) == sorted(wanted)


@given(st.integers(2, 10), st.integers(1, 3), st.integers(0, 9))
def test_only_the_episode_that_kills_is_given_up(count: int, places: int, which: int) -> None:
    """Whatever was played beside it when it killed the first time."""
    killer, desk, over, given_up = which % count, Desk(turns([1] * count)), set[int](), list[int]()
    desk.join(0, places)
    held = list[int]()
    while not desk.done:
        held += [turn.number for turn in desk.hand_out(0)]
        if killer in held:
            given_up += [turn for turn, _ in desk.leave(0)]
            desk.join(0, places)
            held = []
        else:
            assert desk.note(0, Over(held[0], 0, None))
            over.add(held.pop(0))
    assert given_up == [killer] and over == set(range(count)) - {killer}


def test_a_suspect_is_played_alone() -> None:
    desk = Desk(turns([1] * 6))
    desk.join(0, 2)
    assert len(desk.hand_out(0)) == 3
    desk.leave(0)
    desk.join(1, 2)
    while desk.busy(1) or (given := [turn.number for turn in desk.hand_out(1)]):
        if set(given) & {0, 1, 2}:
            assert len(given) == 1 and not desk.hand_out(1)
        for number in given:
            assert desk.note(1, Over(number, 0, None))
        given = []
    assert desk.done


def test_what_nobody_asked_for_is_not_told() -> None:
    desk = Desk(turns([1, 1]))
    desk.join(0, 1)
    desk.hand_out(0)
    assert not desk.note(1, Over(0, 0, None)) and not desk.note(0, Over(0, 1, None)) and not desk.note(0, Over(5, 0, None))
    desk.leave(0)
    assert not desk.note(0, Over(0, 0, None)), "it was given up for dead, and another plays what it had"


def test_near_the_end_nobody_has_more_than_he_can_play() -> None:
    desk = Desk(turns([1] * 3))
    for number in (0, 1):
        desk.join(number, 2)
    assert [len(desk.hand_out(number)) for number in (0, 1)] == [2, 1]


def test_a_turn_goes_on_after_an_episode_that_kills() -> None:
    desk = Desk(turns([3]))
    for number in range(MOST_DEATHS):
        desk.join(number, 1)
        assert desk.hand_out(number)
        given_up = desk.leave(number)
    assert [(turn, item.position) for turn, item in given_up] == [(0, 0)]
    desk.join(9, 1)
    [turn] = desk.hand_out(9)
    assert [item.position for item in turn.items] == [1, 2]


def test_nothing_is_begun_beside_a_suspect() -> None:
    """Not what another turn has left either."""
    desk = Desk(turns([1, 2]))
    desk.join(0, 2)
    assert len(desk.hand_out(0)) == 2
    desk.leave(0)
    desk.join(1, 2)
    [alone] = desk.hand_out(1)
    for number in range(2, 2 + MOST_DEATHS - 1):
        desk.join(number, 2)
        assert len(desk.hand_out(number)) == 1
        given_up = desk.leave(number)
    assert given_up and not desk.hand_out(1)
    assert desk.note(1, Over(alone.number, alone.items[0].position, None)) and len(desk.hand_out(1)) == 1
