"""Rows and headers for tests of results and what is made of them."""

from typing import Any

import msgspec

from edgexp.evaluation.results import Action, Header, Recall, Remembered, Row, Seconds, Setup, Tokens

SETUP = Setup(
    condition="plain", environment="counting", environment_version="1", steps=10, model="toy", model_sha256="0" * 64, actions="admissible",
    context=4096, k=0, memory="off", bank="", bank_fingerprint="", encoder="", code="0", engine="0", repeats=0,
)


def a_row(condition: str = "plain", number: int = 0, setup: str = SETUP.key, **changes: Any) -> Row:
    """A row; `changes` are its fields."""
    remembered = Remembered("t" + "0" * 24, 0.5, "counting/train/3", "count", True)
    row = Row(condition, "dev", "counting", f"counting/dev/{number}", "count", "easy", setup, True, 1.0, 1, "done", "count to 1",
              "The count is 0.", (Action("add one", "The count is 1.", 1.0, 0.9, (("wait", 0.1),), 0.2),),
              (Recall(0, "count", 0.01, (remembered,), ()),), Tokens(100, 110, 2, 0), Seconds(0.3, 0.2, 0.01, 0.001, 0.25),
              "2026-11-22T12:00:00+00:00")
    return msgspec.structs.replace(row, **changes)


def a_header(*setups: Setup, **changes: Any) -> Header:
    """A header that knows some setups."""
    known = setups or (SETUP,)
    header = Header("toy", {"conditions": [{"name": setup.condition} for setup in known]}, {setup.key: setup for setup in known})
    return msgspec.structs.replace(header, **changes)
