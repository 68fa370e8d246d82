"""Environments: one contract (`base`), those that come with edgexp, and how they are found by name (`registry`). Knows no models, prompts
or banks.

What somebody needs who writes an environment can be imported from here.
"""

from edgexp.environments.base import Environment, Expert, HasAdmissible, HasExpert, Outcome, Start
from edgexp.environments.registry import available, describe_all, make

__all__ = ["Environment", "Expert", "HasAdmissible", "HasExpert", "Outcome", "Start", "available", "describe_all", "make"]
