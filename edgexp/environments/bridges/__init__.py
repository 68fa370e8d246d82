"""Other people's environments, each by one name: a program that speaks JSON lines (`process:COMMAND`: `json_lines` and `program`), and
Gymnasium's and TextWorld's (`gym:ID`: `gym` and `gym_texts`).

Nothing here needs a package of somebody else's before an environment is made.
"""
