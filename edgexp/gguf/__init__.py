"""The GGUF file format: reading, writing, number formats, quantising, LoRA adapters. Knows nothing of what models are for."""
