"""Worlds whose ways nothing but experience can tell: every house has its own verbs, appliances and recipes, drawn from a seed.

`words` are the vocabularies, `world` draws a house's ways, `scene` a room and a goal in it, `engine` plays a scene, `players` and
`imitator` are scripted players for measuring, and `environment` puts them behind the environment contract.
"""

from edgexp.environments.worlds.worlds import Worlds

__all__ = ["Worlds"]
