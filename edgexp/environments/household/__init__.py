"""The household world: rooms, furniture and things in text, by ALFWorld's rules, over generated scenes or official games.

`scene` is a game and its goal as data, `simulator` plays it in the sentences of `texts`, `generator` makes scenes from seeds and the tables
of `rooms`, `pddl` reads and writes official game files, `searcher` is the expert that plays by the texts alone, and `household` puts them
behind the contract of environments.
"""

from edgexp.environments.household.household import Household

__all__ = ["Household"]
