"""Episodes on other machines, by Ray: who plays what, how files get there, and what driver and workers say to each other.

The driver is the command that a person started; it alone writes banks and results. A worker is a process on some machine that holds
engines and environments and plays what it is given. Only `ray_link` imports Ray. Knows nothing of how an episode is played.
"""
