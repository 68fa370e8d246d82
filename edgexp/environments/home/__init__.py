"""A home with an assistant: Home Assistant's tools, matching and state rules in plain Python, over generated homes or a public data set.

`inventory` is what a home has, `states` what is so of a thing and what changes it, `matching` which things a call is about, `assist` the
tools, `offered` what may be called now, `telling` the words, `replies` an episode. `homes`, `requests`, `hard_requests` and `habits` make
homes and what is asked in them, `knowing` is the expert, and `generated_homes` puts them behind the contract of environments. `sentences`
reads the public data set and has its scoring rule; `public_homes` plays it.
"""

from edgexp.environments.home.generated_homes import Home

__all__ = ["Home"]
