"""What rooms look like and what things are: furniture, what lies where, how often a goal is set there, what can be done with what.

Tables only; draws nothing. The generator draws scenes from them, and the expert searches by them. The figures are rounded from counts over
many rooms of the kind that ALFWorld plays in, so that a player of these rooms finds the way around those.
"""

from collections.abc import Mapping

import msgspec

from edgexp.environments.household.scene import GoalKind, Kind


class Furniture(msgspec.Struct, frozen=True):
    """One type of receptacle in a room."""

    type: str
    chance: int
    """How many of a hundred such rooms have any."""
    counts: tuple[int, ...]
    """How many there are then: each of these numbers is equally likely."""


class Stock(msgspec.Struct, frozen=True):
    """One type of thing in a room."""

    type: str
    chance: int
    """How many of a hundred such rooms have any."""
    odds: tuple[int, ...]
    """Weights of 1, 2 and 3 pieces then."""
    spots: Mapping[str, int]
    """Receptacle type → weight. A piece lies in one type of those that the room has, drawn by weight, and in any one of that type."""


class Room(msgspec.Struct, frozen=True):
    """One kind of room."""

    furniture: tuple[Furniture, ...]
    stock: Mapping[str, Stock]


def _furniture(text: str) -> tuple[Furniture, ...]:
    rows = [line.split() for line in text.split("\n") if line.strip()]
    return tuple(Furniture(row[0], int(row[1]), tuple(map(int, row[2:]))) for row in rows)


def _stock(text: str) -> dict[str, Stock]:
    rows = [line.split() for line in text.split("\n") if line.strip()]
    return {row[0]: Stock(row[0], int(row[1]), tuple(map(int, row[2])), _weights(row[3:])) for row in rows}


def _weights(words: list[str]) -> dict[str, int]:
    return dict(zip(words[::2], map(int, words[1::2]), strict=True))


# Furniture lines: type, chance in per cent, equally likely counts.
# Stock lines: type, chance in per cent, a digit each as the weights of 1, 2 and 3 pieces, then receptacle types with their weights.

KITCHEN = Room(
    _furniture("""
    Cabinet       100  4 8 9 11 12 13 15 19 20 26
    CoffeeMachine 100  1
    CounterTop    100  1 1 2 2 2 2 3 3 3 4
    DiningTable    57  1 1 1 1 1 1 1 1 2 3
    Drawer         97  1 3 3 4 4 5 6 7 9 13
    Fridge        100  1
    GarbageCan    100  1
    Microwave     100  1
    Safe            4  1
    Shelf          20  3
    SideTable      11  1
    SinkBasin     100  1
    StoveBurner   100  4
    Toaster       100  1
    """),
    _stock("""
    Apple          99 433  DiningTable 23 CounterTop 18 Fridge 18 SideTable 16 Microwave 9 GarbageCan 9 SinkBasin 7
    Book           11 631  CounterTop 59 DiningTable 19 Cabinet 13 Drawer 5 Shelf 4
    Bowl          100 433  Cabinet 28 DiningTable 24 CounterTop 16 Fridge 16 Shelf 7 SideTable 4 SinkBasin 3 Microwave 2
    Bread         100 631  DiningTable 52 CounterTop 35 Fridge 9 SideTable 4
    ButterKnife    95 433  DiningTable 39 CounterTop 36 SideTable 16 Drawer 6 SinkBasin 3
    CellPhone      11 433  DiningTable 48 Drawer 27 CounterTop 25
    CreditCard      9 334  CounterTop 43 Drawer 34 Shelf 23
    Cup           100 433  DiningTable 20 Cabinet 16 CounterTop 15 Fridge 15 SideTable 14 Shelf 8 SinkBasin 7 Microwave 5
    DishSponge     99 433  DiningTable 20 CounterTop 18 Cabinet 18 Drawer 17 Shelf 11 SinkBasin 6 SideTable 6 GarbageCan 4
    Egg            99 433  Fridge 20 CounterTop 19 DiningTable 18 SideTable 13 SinkBasin 10 GarbageCan 10 Microwave 10
    Fork           98 433  DiningTable 36 CounterTop 29 Drawer 16 SideTable 13 SinkBasin 6
    Glassbottle    23 433  DiningTable 27 Cabinet 23 CounterTop 20 Shelf 10 SinkBasin 7 Fridge 7 GarbageCan 6
    HousePlant     36 910  CounterTop 53 DiningTable 47
    Kettle         52 442  StoveBurner 38 CounterTop 22 Cabinet 21 DiningTable 17 SinkBasin 2
    Knife          98 433  DiningTable 41 CounterTop 34 Drawer 15 SideTable 7 SinkBasin 3
    Ladle          35 343  CounterTop 33 DiningTable 30 Cabinet 20 Drawer 15 SinkBasin 2
    Lettuce        98 442  DiningTable 44 CounterTop 26 Fridge 14 SideTable 12 SinkBasin 3 GarbageCan 1
    Mug            98 442  CounterTop 22 DiningTable 17 CoffeeMachine 14 Cabinet 12 Fridge 11 SideTable 8 Microwave 6 Shelf 5 SinkBasin 5
    Pan           100 631  StoveBurner 50 CounterTop 32 DiningTable 8 Cabinet 6 Fridge 4
    PaperTowelRoll 35 100  CounterTop 32 DiningTable 29 Shelf 18 SideTable 12 GarbageCan 9
    Pen             6 334  DiningTable 63 CounterTop 22 Drawer 12 GarbageCan 3
    Pencil          7 442  DiningTable 40 Drawer 30 CounterTop 22 GarbageCan 8
    PepperShaker  100 334  DiningTable 22 Cabinet 21 CounterTop 19 SideTable 17 Shelf 11 Drawer 10
    Plate          97 442  Cabinet 32 DiningTable 27 CounterTop 24 Fridge 7 Shelf 6 SinkBasin 2 SideTable 1 Microwave 1
    Pot           100 541  StoveBurner 70 CounterTop 13 DiningTable 8 Fridge 4 Cabinet 3 Shelf 2
    Potato         99 433  DiningTable 26 CounterTop 22 Fridge 20 SideTable 11 SinkBasin 8 Microwave 8 GarbageCan 5
    SaltShaker    100 433  DiningTable 24 CounterTop 20 Cabinet 20 SideTable 18 Shelf 9 Drawer 9
    Sink           11 100  CounterTop 100
    SoapBottle     99 433  DiningTable 29 CounterTop 21 Cabinet 20 Shelf 12 SideTable 10 GarbageCan 7 Drawer 1
    Spatula       100 433  DiningTable 41 CounterTop 32 Drawer 16 SinkBasin 6 SideTable 5
    Spoon          99 433  DiningTable 34 CounterTop 25 Drawer 20 SideTable 14 SinkBasin 7
    SprayBottle     7 442  DiningTable 39 CounterTop 26 Cabinet 26 GarbageCan 9
    Statue         15 451  CounterTop 47 Shelf 41 DiningTable 12
    Tomato         99 433  DiningTable 30 Fridge 24 CounterTop 21 SideTable 13 GarbageCan 7 SinkBasin 5
    Vase           15 055  CounterTop 32 Shelf 29 Cabinet 29 DiningTable 10
    WineBottle     42 433  DiningTable 33 CounterTop 30 Cabinet 20 GarbageCan 7 Shelf 7 Fridge 2 SideTable 1
    """),
)

LIVING_ROOM = Room(
    _furniture("""
    ArmChair      92  1 1 1 1 1 1 2 2 2 2
    Cabinet       16  1 1 1 4 4 4 4 8 8 8
    CoffeeTable   82  1 1 1 1 1 1 1 1 2 2
    Desk           2  1
    DiningTable   48  1 1 1 1 1 1 1 1 2 2
    Drawer        78  1 1 4 4 4 4 4 7 7 21
    Dresser       38  1 1 1 1 1 1 1 1 1 2
    GarbageCan   100  1
    Ottoman       12  1
    Safe           2  1
    Shelf         37  1 1 2 3 4 6 8 8 13 14
    SideTable     82  1 1 1 1 2 2 2 3 3 5
    Sofa         100  1 1 1 1 1 1 1 1 2 2
    TVStand       35  1 1 1 1 1 1 1 1 2 2
    """),
    _stock("""
    Book          26 532  Dresser 28 CoffeeTable 24 DiningTable 18 Sofa 12 ArmChair 8 SideTable 6 TVStand 3 Drawer 1
    Bowl          11 442  DiningTable 44 TVStand 18 CoffeeTable 17 Shelf 11 SideTable 10
    Box           86 721  DiningTable 30 Desk 17 CoffeeTable 12 Sofa 11 Cabinet 10 Ottoman 4 Shelf 4 SideTable 4 Dresser 4 TVStand 3
    Candle         9 226  SideTable 33 Drawer 18 CoffeeTable 16 Dresser 12 DiningTable 11 TVStand 10
    CellPhone     21 433  Desk 14 Shelf 13 Ottoman 11 Dresser 11 CoffeeTable 10 TVStand 10 DiningTable 9 SideTable 8 Sofa 6 Drawer 6
    CreditCard   100 334  Desk 13 DiningTable 11 TVStand 11 Sofa 10 Dresser 10 Drawer 9 CoffeeTable 9 ArmChair 7 Shelf 7 SideTable 7
    Curtains       4 100  SideTable 100
    DeskLamp      25 100  SideTable 90 CoffeeTable 10
    HousePlant    66 100  SideTable 44 Dresser 20 CoffeeTable 19 DiningTable 9 TVStand 8
    KeyChain      92 442  Desk 16 CoffeeTable 11 TVStand 10 Drawer 10 SideTable 9 Safe 8 DiningTable 8 Dresser 7 Shelf 6 Ottoman 6 Sofa 5
    Laptop       100 631  DiningTable 25 CoffeeTable 15 Desk 14 Sofa 14 Dresser 12 TVStand 7 Ottoman 6 SideTable 5 ArmChair 2
    Newspaper     62 433  DiningTable 20 Dresser 16 Shelf 14 CoffeeTable 12 Sofa 11 SideTable 9 Ottoman 8 TVStand 6 ArmChair 4
    Pen           20 334  Dresser 23 CoffeeTable 21 Shelf 16 SideTable 13 TVStand 11 DiningTable 9 Drawer 4 GarbageCan 3
    Pencil        16 433  Shelf 27 SideTable 20 CoffeeTable 17 Dresser 10 TVStand 10 Drawer 6 DiningTable 6 GarbageCan 4
    Pillow       100 910  Sofa 78 ArmChair 21 Ottoman 1
    Plate         35 442  DiningTable 43 Shelf 22 CoffeeTable 15 SideTable 9 TVStand 7 Dresser 4
    RemoteControl 97 343  CoffeeTable 15 Desk 15 TVStand 12 DiningTable 12 Dresser 11 Sofa 9 SideTable 8 Ottoman 6 ArmChair 5 Shelf 4
    Statue        96 334  Shelf 21 DiningTable 20 CoffeeTable 15 TVStand 14 SideTable 12 Dresser 9 Desk 9
    Television    71 100  TVStand 95 Dresser 5
    TissueBox     34 334  CoffeeTable 29 TVStand 17 DiningTable 17 Shelf 17 SideTable 11 Dresser 6 Drawer 2 GarbageCan 1
    Vase          49 127  Dresser 39 Shelf 20 DiningTable 9 CoffeeTable 9 SideTable 7 Desk 6 TVStand 5 Cabinet 5
    Watch         49 244  Drawer 16 Dresser 15 TVStand 15 CoffeeTable 15 DiningTable 15 SideTable 12 Shelf 12
    WateringCan    9 631  CoffeeTable 53 Shelf 38 SideTable 9
    """),
)

BEDROOM = Room(
    _furniture("""
    ArmChair      19  1 1 1 1 1 1 2 2 3 3
    Bed          100  1 1 1 1 1 1 1 1 2 2
    Cabinet       16  1 1 1 2 2 4 4 4 4 4
    CounterTop     3  1
    Desk          70  1 1 1 1 1 1 1 1 1 2
    DiningTable   13  1
    Drawer        96  2 2 3 3 4 5 6 10 11 16
    Dresser       46  1 1 1 1 1 1 1 1 1 2
    GarbageCan   100  1
    LaundryHamper 27  1
    Safe          17  1
    Shelf         68  1 1 1 1 2 5 5 6 9 12
    SideTable     66  1 1 1 1 1 1 1 2 2 2
    """),
    _stock("""
    AlarmClock    99 532  DiningTable 26 CounterTop 25 Desk 16 Dresser 12 SideTable 11 Shelf 10
    Book         100 433  Bed 28 Desk 16 DiningTable 11 CounterTop 11 Cabinet 10 Drawer 7 ArmChair 6 Dresser 6 SideTable 4 Shelf 1
    Bowl          45 631  Desk 41 Shelf 22 DiningTable 13 Dresser 11 CounterTop 11 SideTable 2
    Box            9 100  Desk 58 Shelf 42
    CD            93 433  DiningTable 30 Dresser 13 Drawer 13 Desk 12 SideTable 9 Cabinet 8 ArmChair 6 Shelf 4 GarbageCan 3 Safe 2
    CellPhone    100 334  CounterTop 14 Bed 13 DiningTable 13 Desk 12 Dresser 10 ArmChair 9 Drawer 8 SideTable 7 Safe 6 Shelf 5 Cabinet 3
    CreditCard   100 334  CounterTop 16 Drawer 14 Dresser 12 Shelf 12 SideTable 12 Desk 12 DiningTable 12 ArmChair 10
    DeskLamp      71 910  SideTable 40 Desk 26 Dresser 25 Shelf 9
    HousePlant    23 100  Shelf 36 Cabinet 21 Desk 21 Dresser 22
    KeyChain      98 433  DiningTable 15 Dresser 14 Safe 13 Drawer 13 SideTable 12 Desk 11 Shelf 10 ArmChair 8 Cabinet 2 CounterTop 2
    Laptop       100 541  Bed 43 CounterTop 22 Desk 16 DiningTable 10 Dresser 5 ArmChair 4
    Mirror         5 100  CounterTop 100
    Mug           49 433  Desk 26 DiningTable 18 Shelf 13 SideTable 12 Dresser 12 CounterTop 11 Cabinet 8
    Pen          100 334  DiningTable 24 CounterTop 21 Desk 16 Dresser 13 SideTable 9 Shelf 9 Drawer 8
    Pencil       100 433  DiningTable 26 CounterTop 25 Desk 12 SideTable 11 Shelf 9 Dresser 9 Drawer 6 GarbageCan 2
    Pillow       100 451  Bed 97 ArmChair 3
    RemoteControl 12 442  CounterTop 27 Desk 18 Drawer 18 DiningTable 15 Dresser 8 SideTable 8 ArmChair 6
    Statue        15 631  Desk 32 Shelf 27 Dresser 25 SideTable 16
    TeddyBear     27 100  Bed 100
    Television     3 100  Dresser 100
    TissueBox     14 433  DiningTable 62 Desk 15 Drawer 10 SideTable 6 Shelf 5 Dresser 2
    Vase           6 253  Shelf 39 Dresser 32 Desk 21 SideTable 8
    Watch          7 253  DiningTable 26 Drawer 20 Desk 17 Shelf 14 Dresser 13 SideTable 10
    Window         7 550  Shelf 70 Dresser 30
    """),
)

BATHROOM = Room(
    _furniture("""
    BathtubBasin       67  1
    Cabinet            45  3 4 4 4 4 4 4 4 5 9
    Cart                8  1
    CounterTop         86  1 1 1 1 1 1 1 1 2 2
    Drawer             57  1 2 2 4 4 4 6 8 8 8
    Dresser             8  1
    GarbageCan        100  1
    HandTowelHolder   100  1 1 1 1 1 1 2 2 2 2
    Shelf              26  1 1 1 1 2 2 2 3 4 4
    SideTable           6  1
    SinkBasin         100  1 1 1 1 1 2 2 2 2 2
    Toilet            100  1
    ToiletPaperHanger 100  1
    TowelHolder       100  1 1 1 1 1 1 1 2 2 2
    """),
    _stock("""
    Candle         97 442  SideTable 18 CounterTop 15 Cabinet 14 Shelf 13 Toilet 13 Cart 10 Drawer 9 Dresser 8
    Cloth         100 433  Cabinet 25 BathtubBasin 23 Dresser 11 Drawer 9 Shelf 9 Cart 9 CounterTop 9 SinkBasin 3 Toilet 2
    DishSponge     23 343  Drawer 18 CounterTop 16 BathtubBasin 15 Cabinet 14 Shelf 13 Cart 9 SinkBasin 7 Toilet 5 GarbageCan 3
    HandTowel     100 820  HandTowelHolder 96 CounterTop 4
    HousePlant      4 100  SideTable 100
    Mirror         10 100  CounterTop 100
    PaperTowelRoll 13 100  Shelf 31 CounterTop 25 Cart 20 Toilet 18 GarbageCan 6
    Sink           22 640  SinkBasin 65 CounterTop 35
    SoapBar        97 433  SideTable 17 Cabinet 14 Cart 12 CounterTop 11 BathtubBasin 10 Drawer 10 Shelf 8 Toilet 8 SinkBasin 7 GarbageCan 3
    SoapBottle     96 433  Cabinet 23 Dresser 21 Shelf 18 CounterTop 14 Toilet 9 Cart 6 SideTable 4 GarbageCan 3 Drawer 2
    SprayBottle   100 433  Cart 21 Cabinet 17 CounterTop 14 SideTable 12 Shelf 12 Dresser 10 Toilet 10 GarbageCan 4
    TissueBox      25 433  SideTable 43 Shelf 17 CounterTop 12 Cabinet 11 Cart 9 Drawer 7 Toilet 1
    ToiletPaper    99 262  Dresser 13 Cabinet 12 CounterTop 12 Shelf 12 Cart 11 Toilet 11 SideTable 10 Drawer 9 ToiletPaperHanger 6
    Towel         100 910  TowelHolder 97 CounterTop 3
    """),
)

ROOMS: Mapping[str, Room] = {"kitchen": KITCHEN, "living room": LIVING_ROOM, "bedroom": BEDROOM, "bathroom": BATHROOM}

WANTED_ODDS = (35, 29, 22, 14)
"""How likely 1, 2, 3 and 4 pieces are of what the goal asks for; from the second on where it asks for two. More than of other things."""

LANDMARKS: Mapping[str, str] = {"stoveburner": "kitchen", "toilet": "bathroom", "bed": "bedroom", "sofa": "living room"}
"""The receptacle, as the texts call it, that tells which room one is in: every room has just one of them."""

WHERE: Mapping[GoalKind, Mapping[str, int]] = {
    "pick_and_place_simple": {"kitchen": 10, "living room": 27, "bedroom": 30, "bathroom": 33},
    "look_at_obj_in_light": {"living room": 17, "bedroom": 83},
    "pick_clean_then_place_in_recep": {"kitchen": 77, "bathroom": 23},
    "pick_cool_then_place_in_recep": {"kitchen": 100},
    "pick_heat_then_place_in_recep": {"kitchen": 100},
    "pick_two_obj_and_place": {"kitchen": 15, "living room": 27, "bedroom": 29, "bathroom": 29},
}
"""Goal → room → how often, of a hundred, it is set there."""

OPENABLE: Mapping[str, int] = {"Cabinet": 85, "Drawer": 80, "Fridge": 100, "Microwave": 100, "Safe": 100}
"""Receptacle type → how many of a hundred have a door. Only those with a door are closed at the start."""

NEIGHBOURS: Mapping[str, int] = {"Cabinet": 15, "Drawer": 20, "Shelf": 10, "StoveBurner": 50}
"""Receptacle type → how many of a hundred are used from the same standing place as another of their type."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SITTING = _words("Book Box CellPhone CreditCard KeyChain Laptop Newspaper Pillow RemoteControl")
_TABLE = _words("""
        AlarmClock Apple Book Bowl Box Bread ButterKnife Candle CD CellPhone CreditCard Cup DishSponge Egg Fork Kettle KeyChain Knife Laptop
        Lettuce Mug Newspaper Pan Pen Pencil PepperShaker Plate Pot Potato RemoteControl SaltShaker SoapBottle Spatula Spoon SprayBottle
        Statue TissueBox Tomato Vase Watch WateringCan WineBottle
        """)

UNASKED = _words("BathtubBasin HandTowelHolder LaundryHamper SinkBasin TowelHolder TVStand")
"""Receptacle types that no goal names."""

FITS: Mapping[str, frozenset[str]] = {
    "ArmChair": _SITTING,
    "BathtubBasin": _words("Cloth DishSponge HandTowel SoapBar"),
    "Bed": _words("Book CellPhone Laptop Pillow"),
    "Cabinet": _words("""
        Book Bowl Box Candle CD Cloth Cup DishSponge Glassbottle HandTowel Kettle Ladle Mug Newspaper Pan PepperShaker Plate Pot SaltShaker
        SoapBar SoapBottle SprayBottle TissueBox ToiletPaper Vase WateringCan WineBottle
        """),
    "Cart": _words("Candle Cloth DishSponge HandTowel SoapBar SoapBottle SprayBottle TissueBox ToiletPaper"),
    "CoffeeMachine": _words("Mug"),
    "CoffeeTable": _words("""
        Book Bowl Box Candle CellPhone CreditCard KeyChain Laptop Newspaper Pen Pencil Plate RemoteControl Statue TissueBox Vase Watch
        WateringCan
        """),
    "CounterTop": _words("""
        AlarmClock Apple Book Bowl Bread ButterKnife Candle CD CellPhone Cloth CreditCard Cup DishSponge Egg Fork Glassbottle HandTowel
        Kettle KeyChain Knife Ladle Laptop Lettuce Mug Pan Pen Pencil PepperShaker Plate Pot Potato RemoteControl SaltShaker SoapBar
        SoapBottle Spatula Spoon SprayBottle Statue TissueBox ToiletPaper Tomato Vase WineBottle
        """),
    "Desk": _words("""
        AlarmClock Book Bowl Box CD CellPhone CreditCard KeyChain Laptop Mug Pen Pencil RemoteControl Statue TissueBox Vase Watch
        """),
    "DiningTable": _TABLE | _words("Glassbottle Ladle"),
    "Drawer": _words("""
        Book ButterKnife Candle CD CellPhone Cloth CreditCard DishSponge Fork HandTowel KeyChain Knife Ladle Newspaper Pen Pencil
        PepperShaker RemoteControl SaltShaker SoapBar SoapBottle Spatula Spoon SprayBottle TissueBox ToiletPaper Watch WateringCan
        """),
    "Dresser": _words("""
        AlarmClock Book Bowl Box Candle CD CellPhone Cloth CreditCard KeyChain Laptop Mug Newspaper Pen Pencil Plate RemoteControl
        SprayBottle Statue TissueBox ToiletPaper Vase Watch WateringCan
        """),
    "Fridge": _words("Apple Bowl Bread Cup Egg Glassbottle Lettuce Mug Pan Plate Pot Potato Tomato WineBottle"),
    "GarbageCan": _words("""
        Apple Bread CD Cloth DishSponge Egg HandTowel Lettuce Newspaper Pen Pencil Potato SoapBar SoapBottle SprayBottle TissueBox
        ToiletPaper Tomato WineBottle
        """),
    "HandTowelHolder": _words("HandTowel"),
    "LaundryHamper": _words("Cloth"),
    "Microwave": _words("Apple Bowl Bread Cup Egg Glassbottle Mug Plate Potato Tomato"),
    "Ottoman": _SITTING,
    "Safe": _words("CD CellPhone CreditCard KeyChain Statue Vase"),
    "Shelf": _words("""
        AlarmClock Book Bowl Box Candle CD CellPhone Cloth CreditCard Cup DishSponge Glassbottle HandTowel Kettle KeyChain Mug Newspaper Pen
        Pencil PepperShaker Plate Pot RemoteControl SaltShaker SoapBar SoapBottle SprayBottle Statue TissueBox ToiletPaper Vase Watch
        WateringCan WineBottle
        """),
    "SideTable": _TABLE | _words("Cloth HandTowel SoapBar ToiletPaper"),
    "SinkBasin": _words("""
        Apple Bowl ButterKnife Cloth Cup DishSponge Egg Fork Glassbottle HandTowel Kettle Knife Ladle Lettuce Mug Pan Plate Pot Potato
        SoapBar Spatula Spoon Tomato
        """),
    "Sofa": _SITTING,
    "StoveBurner": _words("Kettle Pan Pot"),
    "TVStand": _words("TissueBox"),
    "Toilet": _words("Candle Cloth DishSponge HandTowel SoapBar SoapBottle SprayBottle TissueBox ToiletPaper"),
    "ToiletPaperHanger": _words("ToiletPaper"),
    "TowelHolder": _words("Towel"),
}
"""Receptacle type → the types of things that may be put in it. Some things lie where they do not fit, and cannot be put back there."""

FIXED = _words("Curtains DeskLamp HousePlant Mirror Sink Television Window")
CLEANABLE = _words("""
        Apple Bowl ButterKnife Cloth Cup DishSponge Egg Fork Kettle Knife Ladle Lettuce Mug Pan Plate Pot Potato SoapBar Spatula Spoon
        Tomato
        """)
HEATABLE = _words("Apple Bread Cup Egg Mug Plate Potato Tomato")
COOLABLE = _words("Apple Bowl Bread Cup Egg Lettuce Mug Pan Plate Pot Potato Tomato WineBottle")
SLICEABLE = _words("Apple Bread Egg Lettuce Potato Tomato")
VESSELS = _words("Bowl Box Cup Mug Pan Plate Pot")

KINDS: Mapping[str, Kind] = {
    type: Kind(
        type,
        portable=type not in FIXED,
        cleanable=type in CLEANABLE,
        heatable=type in HEATABLE,
        coolable=type in COOLABLE,
        toggleable=type == "DeskLamp",
        sliceable=type in SLICEABLE,
        vessel=type in VESSELS,
    )
    for type in sorted({type for room in ROOMS.values() for type in room.stock})
}
"""Thing type → what can be done with one."""
