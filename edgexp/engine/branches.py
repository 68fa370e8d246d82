"""Trees of continuations as lists of nodes, for an engine to run. Pure Python; knows no model."""

from collections.abc import Sequence
from typing import Any


def leaf_paths(parents: Sequence[int]) -> list[list[int]]:
    """Root-to-leaf lists of node indices."""
    inner = set(parents)
    paths = []
    for leaf in range(len(parents)):
        if leaf not in inner:
            path, node = [], leaf
            while node >= 0:
                path.append(node)
                node = parents[node]
            paths.append(path[::-1])
    return paths


def join(continuations: Sequence[Sequence[int]]) -> tuple[list[int], list[int], list[list[int]]]:
    """Parents, tokens and, for each continuation, its nodes. A continuation's last token needs no run of its own and is left out."""
    parents: list[int] = []
    tokens: list[int] = []
    known: dict[tuple[int, int], int] = {}
    places = []
    for continuation in continuations:
        node, nodes = -1, []
        for token in continuation[:-1]:
            if (node, token) not in known:
                known[node, token] = len(tokens)
                parents.append(node)
                tokens.append(token)
            node = known[node, token]
            nodes.append(node)
        places.append(nodes)
    return parents, tokens, places


def chunks(items: list[Any], size: int) -> list[list[Any]]:
    """Items in lists of at most `size`."""
    return [items[i : i + size] for i in range(0, len(items), size)]
