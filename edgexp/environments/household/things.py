"""What things are: what can be done with each type, and what fits where. Tables only."""

from collections.abc import Mapping

from edgexp.environments.household.rooms import ROOMS
from edgexp.environments.household.scene import Kind


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
