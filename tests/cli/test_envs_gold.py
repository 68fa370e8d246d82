"""`edgexp envs gold`: from the command line, twice, and what it refuses."""

import json
from pathlib import Path

import pytest

from edgexp.environments.registry import make
from edgexp.errors import EdgexpError


def test_an_environment_that_needs_no_gold_paths_is_wrong_usage(edgexp) -> None:
    done = edgexp("envs", "gold", "household")
    assert done.returncode == 2 and "edgexp collect household" in done.stderr


def test_what_was_found_is_not_looked_for_again(edgexp, tmp_path: Path) -> None:
    try:
        make("textworld-express").close()
    except EdgexpError as error:
        pytest.skip(str(error))
    arguments = ("envs", "gold", "textworld-express", "--split", "dev", "--json")
    first = [json.loads(line) for line in edgexp(*arguments, "-n", 8, "--workers", 2, EDGEXP_HOME=str(tmp_path)).stdout.splitlines()]
    assert len({path["task"] for path in first[:-1]}) == 8 and all(path["success"] for path in first[:-1])
    again = [json.loads(line) for line in edgexp(*arguments, "-n", 16, EDGEXP_HOME=str(tmp_path)).stdout.splitlines()]
    file = str(tmp_path / "gold" / "textworld-express.jsonl")
    assert again[-1] == {"summary": {"drawn": 16, "known": 8, "found": 8, "failed": 0, "restarts": 0, "file": file}}
    assert len(Path(file).read_text().splitlines()) == 16
