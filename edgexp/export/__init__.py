"""From a trained LoRA adapter and a base GGUF to a GGUF that runs: merge, quantise, compare with the trained model, record.

Importing this package loads nothing native. Knows nothing of recipes or environments.
"""
