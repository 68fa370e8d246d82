"""The household world: rooms, furniture and things in text, by ALFWorld's rules, over generated scenes or official games.

`scene` is a game as data, `engine` plays it, `generator` makes scenes from seeds, `expert` plays by the texts alone, and `environment` puts
them behind the environment contract.
"""

from edgexp.environments.household.household import Household

__all__ = ["Household"]
