"""Which code played: the version and a digest of the sources that decide what an episode is. Environments have versions of their own."""

import hashlib
from functools import lru_cache
from pathlib import Path

import edgexp

DECIDING = ("agent.py", "policies.py", "prompt.py", "retrieval.py", "rollout.py", "template.py", "embedding.py",
            "bank/keys.py", "bank/search.py", "engine/decide.py", "engine/engine.py", "engine/tokenizer.py", "engine/trie.py",
            "evaluation/experience.py", "evaluation/models.py")  # fmt: skip
"""The renderer, the retriever, the policies, how actions are chosen, and what may be remembered of what bank."""


@lru_cache(maxsize=1)
def code() -> str:
    """`0.1.0+1a2b3c4d5e6f`. Line ends do not count: a checkout may have those of its platform."""
    folder, digest = Path(edgexp.__file__).parent, hashlib.sha256(b"edgexp.code.1\0")
    for name in DECIDING:
        text = (folder / name).read_bytes().replace(b"\r\n", b"\n")
        digest.update(name.encode() + b"\0" + hashlib.sha256(text).digest())
    return f"{edgexp.__version__}+{digest.hexdigest()[:12]}"
