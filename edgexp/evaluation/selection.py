"""Episodes that a checkpoint wins: what `check.select = "rollouts"` chooses by. Played as `edgexp run` plays, with a merged model."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from edgexp.errors import EdgexpError
from edgexp.export import steps
from edgexp.play.collecting import spread
from edgexp.play.session import Settings, open_session
from edgexp.training.launch import Base
from edgexp.training.recipe import Data, Recipe

Say = Callable[[str], None]
Advance = Callable[[str, int, int, int], None]
"""Called with (the checkpoint's folder, episodes played, episodes won, episodes in all) after each of them."""


class DevEpisodes:
    """Plays the recipe's dev episodes with the adapter in a checkpoint's folder; the share it wins.

    They are drawn from the split `check.split` of every environment trained on, all task types in turn, and remember what the recipe's
    own bank holds. The same episodes for every checkpoint.
    """

    def __init__(self, recipe: Recipe, base: Base, say: Say = lambda _: None, advance: Advance = lambda *_: None, gpu_layers: int = 0):
        self._recipe, self._base, self._say, self._advance, self._gpu_layers = recipe, base, say, advance, gpu_layers

    def __call__(self, checkpoint: Path) -> float:
        """The share won, 0 to 1. Raises EdgexpError where nothing can be played."""
        sources = {data.environment: data for data in reversed(self._recipe.data) if data.use == "train"}
        wanted, done, won = self._recipe.check.episodes, 0, 0
        with tempfile.TemporaryDirectory(prefix=".rollouts-", dir=checkpoint.parent) as work:
            model = Path(work) / "model.gguf"
            steps.write(steps.Merge(self._base.gguf, str(checkpoint), "q8_0", str(model)))
            for number, data in enumerate(sources.values()):
                count = wanted * (number + 1) // len(sources) - wanted * number // len(sources)
                for success in self._play(data, model, count):
                    done, won = done + 1, won + success
                    self._advance(checkpoint.name, done, won, wanted)
        if not done:
            raise EdgexpError(f"check.split: the split {self._recipe.check.split} of {', '.join(sources)} has no tasks to play")
        return won / done

    def _play(self, data: Data, model: Path, count: int) -> Iterator[bool]:
        recipe = self._recipe
        # As it was trained, whatever the base's own file says.
        memory = msgspec.structs.replace(recipe.memory.retrieval, layout=recipe.memory.stands)
        settings = Settings(
            environment=data.environment, model=str(model), encoder=recipe.memory.encoder,
            bank=Path(data.bank).expanduser() if data.bank else None,
            gpu_layers=self._gpu_layers, vault=0, seed=recipe.seed, **msgspec.structs.asdict(memory),
        )  # fmt: skip
        with open_session(settings, self._say) as session:
            for finished in session.play(spread(session.environment.tasks(recipe.check.split), count, recipe.seed)):
                if finished.played is None:
                    raise finished.error or EdgexpError("an episode was over without an end")
                yield finished.played.trajectory.success
