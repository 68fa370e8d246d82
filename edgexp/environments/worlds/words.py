"""The vocabularies that worlds are drawn from, and invented words. Tables only; knows no rules.

The pools of one group share no word, so that within a world a word has one meaning. Across worlds the same words mean different things:
that is the point. Most were picked because small models' tokenizers spend one token on them.
"""

from collections.abc import Iterator, Sequence

from edgexp.environments.household.generator import Draw


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split())


TAKE = _split("take fetch grab lift pick gather collect claim get draw")
FROM = _split("from off")
PUT = _split("put set lay place move rest leave drop park")
ON = _split("on in by to")
SAY = _split("say call sing hum chant")
WITH = _split("with under over against")

HAND = _split(
    "press rub wind fold brush pull push squeeze roll dip turn spin wave hit point stroke poke pat blow kick touch hook lock mark "
    "nail smooth trace trim lean rock cross count cover twist tap shake stir knock swing"
)
"""What hands can do to an appliance, to a lid, or to a thing with an appliance or tool."""

ROOMS = _split(
    "kitchen cellar attic garden hall study bedroom bathroom workshop pantry yard tower chapel studio garage stable library office porch "
    "lounge nursery gallery barn dairy laundry parlour"
)

STORAGE = _split("shelf drawer table desk box chest rack bench stool counter safe closet chair niche hamper trunk basket bin cabinet crate")
"""Places where things lie."""

APPLIANCES = _split(
    "kiln forge loom churn basin still mill trough wheel oven stove barrel well fountain stone pillar altar mirror bell tank tub pit "
    "spring arch ladder engine crane boiler grill column globe clock organ harp cage tent hearth vault cart boat lens prism magnet anvil"
)

TOOLS = _split(
    "feather comb hammer needle ribbon sponge whistle candle rope key blade stick coin shell horn leaf ring flute chain fan bead whip "
    "wand spoon rake saw razor thread mask glove"
)

OBJECTS = _split(
    "plate apple book pen bowl vase cup pot pan jar bottle potato egg bread hat shoe shirt pillow blanket watch doll ball brick tile log "
    "plank lamp pear plum carrot onion tomato lemon peach cheese medal crown boot belt coat sock towel cloth rug map letter card photo "
    "phone pencil fork knife kettle fig nut bean bone skull mug scarf melon"
)

STATES = _split(
    "polished painted dyed smoked pickled sealed blessed frozen roasted dried soaked tempered carved steamed weighed marked stamped "
    "hardened sweetened tuned charged warmed cooled heated cleaned bound brewed cured fired lit pressed seasoned wrapped glazed salted "
    "waxed toasted bleached gilded perfumed charmed greased laced mended plated rusted sanded tanned buttered"
)
"""What a recipe makes of a thing."""

GOALS = (
    "in {name}, {put} a {state} {object} {on} {target}.",
    "{put} some {state} {object} {on} a {target}, as {name} does.",
    "{name} wants a {state} {object} {on} the {target}.",
    "let there be a {state} {object} {on} a {target} of {name}.",
    "{on} the {target} of {name} goes a {state} {object}.",
    "the {target} of {name} needs a {state} {object} {on} it.",
    "find one {object} for {name}, have it {state}, and {put} it {on} the {target}.",
    "one {state} {object} {on} the {target} for {name}, please.",
)
"""How a goal may be worded. Each world keeps to one. All name the house, so that what happened there is found again."""

_ONSETS = _split("br dr fl gl gr kl kr l m pl qu r sk sn str thr tr v w y z")
_VOWELS = _split("a e i o u")
_CODAS = _split("b d lb lm lt mp n nd r rb rn rt rv sk st x zz")

_NAME_STARTS = _split("Bel Dar El Fen Gal Har Il Jor Kal Lor Mar Nor Or Pel Quin Ral Sel Tor Ul Vel Wen Yar Zan Tam")
_NAME_MIDDLES = _split("a e i o u ba da fi go ka li mo na pa ri so ta va")
_NAME_ENDS = _split("dar la len lin mir na nor ra ran reth rin sa tan th ton va vane wick")
NAMES = len(_NAME_STARTS) * len(_NAME_MIDDLES) * len(_NAME_ENDS)
"""How many houses can be told apart by name."""

_KNOWN = frozenset({"verb"}).union(TAKE, FROM, PUT, ON, SAY, WITH, HAND, ROOMS, STORAGE, APPLIANCES, TOOLS, OBJECTS, STATES)
"""What is never invented: the words of the pools, and one that the instructions use."""

_SCATTER = 3_571
"""Prime to NAMES, so that neighbouring numbers get names that are far apart, and each number its own."""


def name(number: int) -> str:
    """The name of house `number` (0 to NAMES - 1); no two are alike."""
    rest, end = divmod(number * _SCATTER % NAMES, len(_NAME_ENDS))
    start, middle = divmod(rest, len(_NAME_MIDDLES))
    return _NAME_STARTS[start] + _NAME_MIDDLES[middle] + _NAME_ENDS[end]


class Lexicon:
    """Draws words for one world and never the same one twice, whatever they are for."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self._used: set[str] = set()

    def some(self, pool: Sequence[str], count: int, invented: int = 0, ending: str = "") -> tuple[str, ...]:
        """`count` words from the pool; each is an invented one instead, with that ending, `invented` times of a hundred."""
        return tuple(self._fresh(pool, ending, self._draw.happens(invented)) for _ in range(count))

    def _fresh(self, pool: Sequence[str], ending: str, invent: bool) -> str:
        word = next(word for word in self._candidates(pool, ending, invent) if word not in self._used)
        self._used.add(word)
        return word

    def _candidates(self, pool: Sequence[str], ending: str, invent: bool) -> Iterator[str]:
        while not invent:
            yield self._draw.one(pool)
        while True:
            word = "".join(self._draw.one(part) for part in (_ONSETS, _VOWELS, _CODAS)) + ending
            if word not in _KNOWN:
                yield word
