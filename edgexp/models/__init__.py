"""Which models there are, where their weights come from, and whether the bytes are the right ones.

A manifest (`models/<name>.toml`) names a model, its sources in order of preference and what is made from it once. `resolve` turns a
name or a path into files that were checked and can be loaded; it never opens a socket. `edgexp.models.pull` is the only part that does.
Knows nothing of prompts, tokens, banks or environments, and not how a model is run.
"""

from edgexp.models.manifest import Manifest, Role
from edgexp.models.ready import BASE_POLICY, DEFAULT_EMBEDDER, DEFAULT_POLICY, Ready, bring, resolve

__all__ = ["BASE_POLICY", "DEFAULT_EMBEDDER", "DEFAULT_POLICY", "Manifest", "Ready", "Role", "bring", "resolve"]
