"""The cookbook's arithmetic environment with sums that twinkle/tiny can learn: addends up to 20 instead of 100.

Takes the options of `tinker_cookbook.rl.train.Config` on the command line, for instance `log_path=...` and
`dataset_builder.largest_addend=10`. The environment and the training loop are the cookbook's own; only which sums are drawn
is decided here.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import chz
from tinker_cookbook import renderers
from tinker_cookbook.recipes.math_rl.arithmetic_env import ArithmeticEnv
from tinker_cookbook.rl import train
from tinker_cookbook.rl.problem_env import ProblemGroupBuilder
from tinker_cookbook.rl.types import EnvGroupBuilder, RLDataset, RLDatasetBuilder
from tinker_cookbook.tokenizer_utils import get_tokenizer

MODEL = "twinkle/tiny"
RENDERER = "qwen3_instruct"


class SmallSums(RLDataset):
    """Batch `index` is the same whenever it is asked for, so that a resumed run sees what it would have seen."""

    def __init__(self, builder: SmallSumsBuilder, renderer: renderers.Renderer):
        self.builder = builder
        self.renderer = renderer

    def get_batch(self, index: int) -> Sequence[EnvGroupBuilder]:
        draw = random.Random(index)
        return [self.group(draw) for _ in range(self.builder.groups_per_batch)]

    def group(self, draw: random.Random) -> ProblemGroupBuilder:
        a, b = (draw.randint(0, self.builder.largest_addend) for _ in range(2))
        return ProblemGroupBuilder(
            env_thunk=lambda: ArithmeticEnv(a, b, renderer=self.renderer),
            num_envs=self.builder.group_size,
        )

    def __len__(self) -> int:
        return self.builder.batches


@chz.chz
class SmallSumsBuilder(RLDatasetBuilder):
    largest_addend: int = 20
    groups_per_batch: int = 8
    group_size: int = 16
    batches: int = 20

    async def __call__(self) -> tuple[RLDataset, None]:
        return SmallSums(self, renderers.get_renderer(RENDERER, get_tokenizer(MODEL))), None


DEFAULTS = {
    "model_name": MODEL,
    "renderer_name": RENDERER,
    "recipe_name": "twinkle_arithmetic",
    "dataset_builder": SmallSumsBuilder,
    "loss_fn": "importance_sampling",
    "lora_rank": 16,
    "learning_rate": 1e-3,
    "max_tokens": 8,
    "eval_every": 0,
    "save_every": 0,
}

if __name__ == "__main__":
    config = chz.Blueprint(train.Config).apply(DEFAULTS).make_from_argv()
    asyncio.run(train.main(config))
