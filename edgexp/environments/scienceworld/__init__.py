"""ScienceWorld: thirty kinds of school experiments in a simulated house, run by its own Java server.

- `types`: the task types, their splits, sides and step limits. Knows no Java.
- `environment`: the environment over the server's calls.
"""

from edgexp.environments.scienceworld.environment import ScienceWorld

__all__ = ["ScienceWorld"]
