"""A model small enough to train in a test, and runs of it; imported only where torch is."""

import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from edgexp.training import prepared, recipe
from edgexp.training.launch import Base, Job, Run

VOCABULARY = 96


def checkpoint(folder: Path, kind: str = "llama", seed: int = 7) -> Path:
    """A randomly initialised model with grouped heads (and, as Qwen2, biases), saved as transformers does."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    shape: dict[str, Any] = {"vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
                             "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512}
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**shape)) if kind == "llama" else Qwen2ForCausalLM(Qwen2Config(**shape, tie_word_embeddings=True))
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)
    return folder


def samples(count: int, seed: int = 0) -> prepared.Samples:
    """Rows that go round through the same five tokens, from anywhere, so that there is something to learn."""
    chance, out = np.random.default_rng(seed), prepared.Samples()
    for _ in range(count):
        ids = np.roll(np.tile([11, 23, 42, 57, 80], 20), chance.integers(5))[: chance.integers(20, 90)].tolist()
        out.add(ids, [(6, 9), (12, len(ids))])
    return out


def with_blocks(count: int, seed: int = 0) -> prepared.Samples:
    """Rows of some beginning, up to three stretches that stand apart, and a rest to learn; the first has two blocks, the second none."""
    chance, out = np.random.default_rng(seed), prepared.Samples()
    for number in range(count):
        lengths = chance.integers(3, 30, {0: 2, 1: 0}.get(number, int(chance.integers(4))))
        edges = 5 + np.cumsum([0, *lengths])
        ids = chance.integers(0, VOCABULARY, edges[-1] + 25).tolist()
        out.add(ids, [(int(edges[-1]) + 3, int(edges[-1]) + 7), (len(ids) - 8, len(ids))], list(pairwise(edges.tolist())))
    return out


def settings(**changes: Any) -> recipe.Recipe:
    """A recipe for the tiny model; `changes` are keys with two underscores for the dot."""
    text = """
        [base]
        backend = "peft"
        dtype = "f32"
        [lora]
        r = 4
        dropout = 0.2
        targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        [train]
        optimizer = "adamw"
        lr = 1e-2
        steps = 6
        trajectories = 4
        schedule = "cosine"
        [check]
        checkpoint_every = 2
        keep = 0
    """
    return recipe.parse(text, "test", [f"{key.replace('__', '.')}={value}" for key, value in changes.items()])


def run(folder: Path, weights: Path, asked: recipe.Recipe, of_gguf: Path | None = None) -> Run:
    """A run with its dataset, ready to train; `of_gguf` are the weights of a GGUF that is expanded already, those of training if None."""
    made = Run(folder)
    made.data.mkdir(parents=True)
    prepared.write(made.data, {"train": samples(24), "valid-none": samples(3, seed=1)}, vocabulary=VOCABULARY)
    cache = folder.parent / f"{folder.name}-bases"
    if weights.is_dir():
        expanded = shutil.copytree(of_gguf or weights, cache / ("0" * 24))
        (expanded / "expanded.json").write_text("{}")
    made.write_job(Job("tiny", asked, Base("tiny", "", "0" * 64, str(weights)), str(cache)))
    return made
