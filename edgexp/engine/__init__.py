"""Running a GGUF model: sequences of tokens over low-level llama.cpp, decisions over them, and the measurements that tune them.

Importing this package loads nothing native; `edgexp.engine.native.load` does, once, with the machine's tuning.
"""
