"""How long the tests that try things at random go on: `EDGEXP_FUZZ_ROUNDS=20` lets all of them try twenty times as many."""

import os

ROUNDS = max(1, int(os.environ.get("EDGEXP_FUZZ_ROUNDS", "1")))
LONG = ROUNDS > 1
"""Whether to try all there is, where a quick run takes samples."""
