"""The prompt: words (`messages`), token ids (`render`), and a model's own way of writing turns (`template`). The only renderer, for running
and for training. Knows nothing of where memory came from.
"""
