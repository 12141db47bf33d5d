"""Whole scripts, as a user writes them: supervised fine-tuning, save and resume, reinforcement learning."""

from __future__ import annotations

import numpy as np
from basics import *  # noqa: F403


def chat_prompt(tokenizer, question: str) -> list[int]:
    messages = [{"role": "user", "content": question}]
    words = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return tokenizer.encode(words, add_special_tokens=False)


@case("S1-sft")
def supervised_fine_tuning() -> None:
    """Loss falls, and the greedy answer becomes the one that was taught."""
    service = client()
    training = lora(service, rank=16, seed=3)
    tokenizer = training.get_tokenizer()
    rows = {"Who are you?": "I am a kettle.", "Hello!": "Good evening.", "What is 2 + 2?": "Five."}
    end = tokenizer.eos_token_id

    def example(question: str, answer: str) -> types.Datum:
        prompt = chat_prompt(tokenizer, question)
        target = tokenizer.encode(answer, add_special_tokens=False) + [end]
        weights = np.concatenate([np.zeros(len(prompt) - 1), np.ones(len(target))])
        return datum(prompt + target, weights=weights)

    def answer(sampler, question: str) -> str:
        result = sample(sampler, chat_prompt(tokenizer, question), max_tokens=24)
        tokens = [token for token in result.sequences[0].tokens if token != end]
        return tokenizer.decode(tokens)

    before = [answer(sampler_of(training), question) for question in rows]
    assert before != list(rows.values()), before
    batch = [example(question, taught) for question, taught in rows.items()]
    losses = [loss_of(step(training, batch, adam(1e-2))) for _ in range(25)]
    assert losses[-1] < 0.05 * losses[0], losses
    path = done(training.save_weights_for_sampler("final")).path
    final = done(service.create_sampling_client(model_path=path))
    assert [answer(final, question) for question in rows] == list(rows.values())


@case("S2-resume")
def save_and_resume_with_optimiser() -> None:
    """Four steps, a save, four more; the resumed run, in a new session, goes the same way as the uninterrupted one."""
    batches = [[weighted(some_tokens(10 + i, 50 + i)), weighted(some_tokens(6 + i, 70 + i))] for i in range(8)]
    schedule = [3e-3 * (1 - i / 10) for i in range(8)]

    def train(training, steps: range) -> list[float]:
        return [loss_of(step(training, batches[i], adam(schedule[i], weight_decay=0.01))) for i in steps]

    whole = lora(seed=5)
    first = train(whole, range(4))
    path = done(whole.save_state("half-way")).path
    rest = train(whole, range(4, 8))

    resumed = done(client().create_training_client_from_state_with_optimizer(path))
    rest_again = train(resumed, range(4, 8))
    near(np.array(rest_again) / rest, np.ones(4), 1e-5)
    for got, wanted in zip(logprobs_of(resumed, batches[0]), logprobs_of(whole, batches[0]), strict=True):
        near(got, wanted, 1e-5)
    assert len(first) == 4


@case("S3-rl")
def reinforcement_learning() -> None:
    """Groups of samples, advantages from rewards, importance sampling on their own logprobs: the reward rises."""
    training = lora(rank=16, seed=4)
    tokenizer = training.get_tokenizer()
    prompts = [chat_prompt(tokenizer, question) for question in ("Say something.", "Tell me a number.")]
    wanted = np.zeros(VOCABULARY, bool)
    wanted[[i for i in range(VOCABULARY) if any(c in "aeiou" for c in tokenizer.decode([i]))]] = True
    params = types.SamplingParams(max_tokens=8, temperature=1.0, stop=[])

    def reward(tokens) -> float:
        return float(np.mean(wanted[np.asarray(tokens, int)]))

    rewards = []
    for _ in range(16):
        sampler = sampler_of(training)
        futures = [sampler.sample(prompt=text(prompt), num_samples=12, sampling_params=params) for prompt in prompts]
        data, seen = [], []
        for prompt, future in zip(prompts, futures, strict=True):
            sequences = done(future).sequences
            assert len(sequences) == 12
            scores = np.array([reward(sequence.tokens) for sequence in sequences])
            seen += scores.tolist()
            for sequence, advantage in zip(sequences, scores - scores.mean(), strict=True):
                silent = np.zeros(len(prompt) - 1)
                logprobs = np.concatenate([silent, sequence.logprobs])
                advantages = np.concatenate([silent, np.full(len(sequence.tokens), advantage)])
                data.append(policy_datum(prompt + list(sequence.tokens), logprobs, advantages))
        rewards.append(float(np.mean(seen)))
        step(training, data, adam(1e-2), "importance_sampling")
    assert np.mean(rewards[-3:]) > np.mean(rewards[:3]) + 0.15, [round(r, 2) for r in rewards]
