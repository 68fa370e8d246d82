"""Games that run in Java. `gateway` starts and calls servers, `gold` keeps paths that win, `served` makes both an environment.

`scienceworld` and `textworld_express` are the two games. Nothing here needs Java, or their packages, before an environment is made.
"""
