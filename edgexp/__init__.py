"""edgexp: teach a small language model to act, and to learn from experience, on your own machine.

Importing this package imports nothing heavy: no numpy, no llama.cpp, no onnxruntime, no index library. Import the module you
need (`edgexp.bank`, `edgexp.engine`, …), or use the command line, `edgexp --help`.
"""

__version__ = "0.1.0"
