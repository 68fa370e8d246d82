"""Fine-tuning on prompts that already hold retrieved experience: recipe → dataset → training in a child process → adapter.

Only `child.py` and what it imports need torch; reading recipes, building datasets and following a run need nothing heavy. Knows no
llama.cpp (a tokenizer is handed in) and nothing of how an episode is played.
"""
