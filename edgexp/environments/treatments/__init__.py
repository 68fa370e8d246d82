"""Household tasks with treatments that only experience tells: each home glazes or zorbs at an appliance that nothing else betrays.

Rooms, texts, rules and instructions are those of `household`, so whatever a model learns here about using its memory it learns in the very
prompt in which it meets tasks it was never trained on. `ways` are the homes with their treatments, `environment` puts them behind the
contract.
"""

from edgexp.environments.treatments.environment import Treatments

__all__ = ["Treatments"]
