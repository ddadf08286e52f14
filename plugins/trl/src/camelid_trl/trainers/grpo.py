"""trl's GRPOTrainer on prompts, with a reward on the answer that the prompt template reads from the sampled tokens."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from typing import Any

import torch
from camelid_core.templates.template import PromptTemplate
from camelid_train.loop.batches import batches_by_length
from camelid_train.loop.trainer import EpochLoader
from camelid_train.objectives import TrainingRun
from camelid_train.objectives.rewards import Reward, rewards
from trl import GRPOConfig, GRPOTrainer

from camelid_trl.grpo import GrpoObjective
from camelid_trl.preference_rows import RewardedPrompt
from camelid_trl.trainer_mixin import (
    TrlTrainerMixin,
    make_keeping_dtypes,
    placeholder_dataset,
    with_transformers_defaults,
)


class GroupBatches:
    """Index batches of whole groups: each prompt `group` times, each batch `times` times, as trl splits it into steps.

    Another order every epoch, the same for the same seed. Prompts left over wait for another epoch. Process `rank` of
    `world_size` answers its share of each batch.
    """

    def __init__(self, count: int, prompts: int, group: int, times: int, seed: int, rank: int, world_size: int) -> None:
        self.count, self.prompts, self.group, self.times, self.seed = count, prompts, group, times, seed
        self.rank, self.share = rank, prompts * group // world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count // self.prompts * self.times

    def __iter__(self) -> Iterator[list[int]]:
        order = list(range(self.count))
        random.Random(f"{self.seed}/{self.epoch}").shuffle(order)
        for start in range(0, self.count - self.prompts + 1, self.prompts):
            batch = [index for index in order[start : start + self.prompts] for _ in range(self.group)]
            for _ in range(self.times):
                yield batch[self.rank * self.share : (self.rank + 1) * self.share]


class Trainer(TrlTrainerMixin, GRPOTrainer):
    """Samples answers, scores them, and learns from each one's advantage over the mean of its group."""

    scored: Callable[[Sequence[Sequence[int]], Sequence[str]], list[float]]

    def count(self, inputs: dict[str, Any]) -> tuple[int, int]:
        trained = int(inputs["completion_mask"].sum())
        return int(inputs["prompt_mask"].sum()) + trained, trained

    def get_train_dataloader(self) -> Any:
        args = self.args
        prompts = args.generation_batch_size // args.num_generations
        plan = (prompts, args.num_generations, args.steps_per_generation, args.seed)
        batches = GroupBatches(len(self.train_dataset), *plan, args.process_index, args.world_size)
        return EpochLoader(self.train_dataset, batch_sampler=batches, collate_fn=self.collate)

    def _tokenize_prompts(self, prompts: list[list[int]]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return prompts, None, {}

    def mean_reward(self, tasks: Sequence[RewardedPrompt]) -> float:
        """Mean reward of the greedy answers."""
        was_training = self.model.training
        self.model.eval()
        rewards = [
            reward for batch in batches_by_length(tasks, self.heldout_batch_size) for reward in self._rewards(batch)
        ]
        self.model.train(was_training)
        return sum(rewards) / max(len(rewards), 1)

    @torch.no_grad()
    def _rewards(self, tasks: Sequence[Any]) -> list[float]:
        self.raise_if_interrupted()
        pad, device = self._tokenizer.pad_token_id, self.model.device
        longest = max(task.start for task in tasks)
        made = self.model.generate(
            input_ids=torch.tensor([[pad] * (longest - task.start) + task.prompt_ids for task in tasks], device=device),
            attention_mask=torch.tensor(
                [[0] * (longest - task.start) + [1] * task.start for task in tasks], device=device
            ),
            max_new_tokens=self.max_completion_length,
            do_sample=False,
            eos_token_id=self.eos_token_ids,
            pad_token_id=pad,
        )
        return self.scored(made[:, longest:].tolist(), [task.reference for task in tasks])


def trainer(section: GrpoObjective, run: TrainingRun) -> Trainer:
    arguments = run.arguments(
        with_transformers_defaults(GRPOConfig),
        num_generations=section.group,
        max_completion_length=section.answer_tokens,
        temperature=section.temperature,
    )
    stops = [run.encoder.special[stop] for stop in run.encoder.template.stops if stop in run.encoder.special]
    score = scorer(rewards()[section.reward], run.encoder.template, run.tokenizer, stops)

    def reward(completion_ids: list[list[int]], reference: list[str], **_: Any) -> list[float]:
        return score(completion_ids, reference)

    options = {"args": arguments, "train_dataset": placeholder_dataset(prompt=[0]), "processing_class": run.tokenizer}
    made: Trainer = make_keeping_dtypes(lambda: Trainer(run.model, reward, **options), run.model)
    made.eos_token_ids[:] = list(
        dict.fromkeys([*made.eos_token_ids, *stops])
    )  # the list that its generation config shares
    made.scored = score
    made.set_up(run, lambda tasks: [{"prompt": task.prompt_ids, "reference": task.reference} for task in tasks])
    return made


def scorer(
    reward: Reward, template: PromptTemplate, tokenizer: Any, stops: Sequence[int] = ()
) -> Callable[[Sequence[Sequence[int]], Sequence[str]], list[float]]:
    """Token ids of answers, reference answers → rewards; an answer ends at a stop of the prompt template."""
    stop_ids = {*stops, tokenizer.eos_token_id}

    def answer_text(ids: Sequence[int]) -> str:
        answer = list(takewhile(lambda token: token not in stop_ids, ids))
        text: str = tokenizer.decode(answer, skip_special_tokens=True)
        for stop in template.stops:
            text = text.split(stop)[0]
        return template.parse(text)

    def score(answers: Sequence[Sequence[int]], references: Sequence[str]) -> list[float]:
        return [reward.score(answer_text(ids), reference) for ids, reference in zip(answers, references, strict=True)]

    return score
