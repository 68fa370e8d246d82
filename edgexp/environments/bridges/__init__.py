"""Other people's environments, each by one name: a program that speaks JSON lines (`process:COMMAND`: `json_lines` and `program`), and
Gymnasium's and TextWorld's (`gym:ID`: `gym` and `gym_texts`), and a folder of one's own tasks (its path: `tasks_folder`, with `sandbox` for
the shell and `statements` for SQL). `skeletons` writes beginnings of one's own.

Nothing here needs a package of somebody else's before an environment is made.
"""
