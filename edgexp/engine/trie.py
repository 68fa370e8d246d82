"""Token sequences that share beginnings, as a tree: the form in which valid actions are offered to the model.

Most tokens of an action are forced (after `go to c` only a few continuations are valid), and a forced token needs no decision. Pure
Python; knows nothing of models or text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Node:
    """A prefix. `leaf` is the index of the sequence that ends here, None inside the tree."""

    children: dict[int, "Node"] = field(default_factory=dict)
    leaf: int | None = None
    leaves: int = 0
    """How many sequences go through or end here."""


def build(sequences: Sequence[Sequence[int]]) -> Node:
    """The tree of some token sequences. Raises ValueError where one is empty, repeated, or the beginning of another.

    End every sequence with the end-of-turn token and none is the beginning of another.
    """
    root = Node()
    for index, sequence in enumerate(sequences):
        if not sequence:
            raise ValueError(f"sequence {index} is empty")
        node = root
        node.leaves += 1
        for token in sequence:
            if node.leaf is not None:
                raise ValueError(f"sequence {node.leaf} is the beginning of sequence {index}")
            node = node.children.setdefault(token, Node())
            node.leaves += 1
        if node.children or node.leaf is not None:
            raise ValueError(f"sequence {index} is a repeat or the beginning of another")
        node.leaf = index
    return root


def forced(node: Node) -> tuple[list[int], Node]:
    """The tokens that follow without a choice, and the node they lead to: one with a choice, or a leaf."""
    tokens: list[int] = []
    while len(node.children) == 1:
        [(token, node)] = node.children.items()
        tokens.append(token)
    return tokens, node


def leaves(node: Node) -> Iterator[int]:
    """Indices of all sequences below a node."""
    stack = [node]
    while stack:
        here = stack.pop()
        if here.leaf is not None:
            yield here.leaf
        stack.extend(here.children.values())
