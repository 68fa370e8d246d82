"""Other people's environments, each by one name: `child` and `json_lines` for a program that speaks JSON lines (`process:COMMAND`).

Nothing here needs a package of somebody else's before an environment is made.
"""
