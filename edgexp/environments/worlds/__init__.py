"""Worlds whose ways nothing but experience can tell: every house has its own verbs, appliances and recipes, drawn from a seed.

`invented` draws words, the ways of a house, and a room with a goal in it; `worlds` has the rules and the environment; `players` are
scripted: the expert, and two for measuring what experience is worth.
"""

from edgexp.environments.worlds.worlds import Worlds

__all__ = ["Worlds"]
