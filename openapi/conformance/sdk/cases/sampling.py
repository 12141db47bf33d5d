"""Sampling: greedy and seeded draws, stops, counts, and log-probabilities that agree with training's."""

from __future__ import annotations

import json
import logging
import pickle
import re
from datetime import datetime, timedelta, timezone

import tinker
from basics import *  # noqa: F403

PROMPT = some_tokens(9, 31)


def drawn(result) -> list[list[int]]:
    return [list(sequence.tokens) for sequence in result.sequences]


@case("C54")
def greedy_twice() -> None:
    sampler = base_sampler()
    one, two = (sample(sampler, PROMPT, max_tokens=16, stop=[]) for _ in range(2))
    assert drawn(one) == drawn(two) and len(drawn(one)[0]) == 16
    assert list(one.sequences[0].logprobs) == list(two.sequences[0].logprobs)


@case("C55")
def seeded_samples() -> None:
    sampler = base_sampler()
    one, two, other = (sample(sampler, PROMPT, n=4, temperature=1.0, max_tokens=12, seed=seed) for seed in (5, 5, 6))
    assert len(drawn(one)) == 4 and drawn(one) == drawn(two)
    assert drawn(one) != drawn(other)
    assert len({tuple(tokens) for tokens in drawn(one)}) > 1, drawn(one)
    if version() >= (0, 26):
        ids = [sequence.sequence_id for result in (one, two) for sequence in result.sequences]
        assert len(set(ids)) == 8, ids


@case("C56")
def largest_seed() -> None:
    sampler = base_sampler()
    top = 2**63 - 1
    one, two, near_by = (
        sample(sampler, PROMPT, temperature=1.0, max_tokens=16, seed=s, stop=[]) for s in (top, top, top - 1)
    )
    assert drawn(one) == drawn(two)
    assert drawn(one) != drawn(near_by), "neighbouring 64-bit seeds draw alike: the seed was rounded"


@case("C57")
def stops() -> None:
    sampler = base_sampler()
    tokenizer = sampler.get_tokenizer() if version() >= (0, 8) else lora().get_tokenizer()
    free = sample(sampler, PROMPT, max_tokens=24, stop=[])
    assert free.sequences[0].stop_reason == "length" and len(drawn(free)[0]) == 24
    tokens = drawn(free)[0]
    at = next(i for i in range(3, 24) if tokens[i] not in tokens[:i]) if len(set(tokens)) > 3 else 0
    stopped = sample(sampler, PROMPT, max_tokens=24, stop=[tokens[at]])
    assert stopped.sequences[0].stop_reason == "stop"
    first = tokens.index(tokens[at])
    assert drawn(stopped)[0] == tokens[: first + 1], (drawn(stopped)[0], tokens)
    words = tokenizer.decode(tokens)
    stop = next((words[i : i + 2] for i in range(4, len(words) - 2) if words[i : i + 2].isascii()), words[:2])
    for form in (stop, [stop, "\u2603\u2603"]):
        by_text = sample(sampler, PROMPT, max_tokens=24, stop=form)
        said = tokenizer.decode(drawn(by_text)[0])
        assert by_text.sequences[0].stop_reason == "stop", (stop, words, said)
        assert stop in said and words.startswith(said[: len(said) - len(stop)]), (stop, words, said)
        assert stop not in tokenizer.decode(drawn(by_text)[0][:-1]), "the stop was complete before the last token"


@case("C58")
def max_tokens() -> None:
    result = sample(base_sampler(), PROMPT, n=2, max_tokens=7, temperature=1.0, seed=3, stop=[])
    assert [len(tokens) for tokens in drawn(result)] == [7, 7]
    assert {sequence.stop_reason for sequence in result.sequences} == {"length"}
    assert all(len(sequence.logprobs) == 7 for sequence in result.sequences)


@case("C59")
def sampled_logprobs_are_training_s() -> None:
    training = lora()
    step(training, [weighted(PROMPT)], adam(1e-2))
    sampler = sampler_of(training)
    for n, temperature in ((1, 0.0), (3, 1.0)):
        result = sample(sampler, PROMPT, n=n, temperature=temperature, max_tokens=10, seed=9, stop=[])
        for sequence in result.sequences:
            whole = PROMPT + list(sequence.tokens)
            trained = logprobs_of(training, [weighted(whole)])[0][len(PROMPT) - 1 :]
            near(sequence.logprobs, trained, 1e-3)


@case("C60")
def prompt_logprobs() -> None:
    sampler = base_sampler()
    logprobs = done(sampler.compute_logprobs(text(PROMPT)))
    assert len(logprobs) == len(PROMPT) and logprobs[0] is None, logprobs
    near(logprobs[1:], logprobs_of(lora(), [weighted(PROMPT)])[0], 1e-3)
    greedy = types.SamplingParams(max_tokens=1, temperature=0.0)
    result = done(
        sampler.sample(prompt=text(PROMPT), num_samples=1, sampling_params=greedy, include_prompt_logprobs=True)
    )
    near(result.prompt_logprobs[1:], logprobs[1:], 1e-5)


@case("C60-last-n")
def prompt_logprobs_of_the_end() -> None:
    sampler = base_sampler()
    whole = done(sampler.compute_logprobs(text(PROMPT)))
    last = done(sampler.compute_logprobs(text(PROMPT), prompt_logprobs_last_n=2))
    assert last[:-2] == [None] * (len(PROMPT) - 2), last
    near(last[-2:], whole[-2:], 1e-5)


@case("C61")
def topk_prompt_logprobs() -> None:
    sampler = base_sampler()
    greedy = types.SamplingParams(max_tokens=1, temperature=0.0)
    result = done(
        sampler.sample(
            prompt=text(PROMPT),
            num_samples=1,
            sampling_params=greedy,
            include_prompt_logprobs=True,
            topk_prompt_logprobs=5,
        )
    )
    rows = result.topk_prompt_logprobs
    assert len(rows) == len(PROMPT) and rows[0] is None, rows
    for position, row in enumerate(rows[1:], 1):
        values = [value for _, value in row]
        assert len(row) == 5 and values == sorted(values, reverse=True), row
        for token, value in row:
            if token == PROMPT[position]:
                near(value, result.prompt_logprobs[position], 1e-5)


def asked(sampler, prompt, *, n: int = 1, seed: int = 1, temperature: float = 1.0, max_tokens: int = 1, **more):
    params = types.SamplingParams(max_tokens=max_tokens, temperature=temperature, seed=seed, stop=[])
    return done(sampler.sample(prompt=text(prompt), num_samples=n, sampling_params=params, **more))


def logprob_of(sampler, prompt, position: int, token: int) -> float:
    """Of another token in a place of the prompt, the roundabout way."""
    return done(sampler.compute_logprobs(text([*prompt[:position], int(token)])))[position]


@case("C93")
def every_place_of_a_prompt() -> None:
    training = lora()
    step(training, [weighted(PROMPT)], adam(1e-2))
    sampler = sampler_of(training)
    prompt = some_tokens(70, 93)
    whole = done(sampler.compute_logprobs(text(prompt)))

    drawn_of = asked(sampler, prompt, max_tokens=5, n=2, topk_sample_logprobs=4)
    for sequence in drawn_of.sequences:
        ids, logprobs = sequence.topk_logprobs_np.token_ids, sequence.topk_logprobs_np.logprobs
        assert np.asarray(ids).shape == np.asarray(logprobs).shape == (5, 4), ids
        for i, token in enumerate(sequence.tokens):
            if token in ids[i]:
                near(logprobs[i][list(ids[i]).index(token)], sequence.logprobs[i], 1e-4)
        near(logprob_of(sampler, [*prompt, *sequence.tokens], len(prompt) + 2, ids[2][1]), logprobs[2][1], 1e-3)

    # Dense: the prompt's own token, and another where a place is even.
    other = some_tokens(69, 5)
    grid = np.array([[prompt[i + 1], other[i] if i % 2 else -1] for i in range(69)])
    dense = asked(sampler, prompt, target_prompt_logprobs=tensor(grid, "int64")).target_prompt_logprobs
    assert dense.dtype == "float32" and list(dense.shape) == [69, 2], dense
    values = dense.to_numpy()
    near(values[:, 0], whole[1:], 1e-4)
    assert (values[::2, 1] == 0).all(), values
    for i in (1, 31, 63, 67):
        near(values[i, 1], logprob_of(sampler, prompt, i + 1, other[i]), 1e-3)

    # The same cells as CSR, with the layout of the question in the answer.
    listed = [(0, 3), (0, 1), (2, 0), (63, 2), (68, 3)]
    crow = [sum(row < r for row, _ in listed) for r in range(70)]
    sparse = types.TensorData(
        data=[int(grid[row, 0]) for row, _ in listed],
        dtype="int64",
        shape=[69, 4],
        sparse_crow_indices=crow,
        sparse_col_indices=[column for _, column in listed],
    )
    scored = asked(sampler, prompt, target_prompt_logprobs=sparse).target_prompt_logprobs
    assert list(scored.shape) == [69, 4] and list(scored.sparse_crow_indices) == crow, scored
    assert list(scored.sparse_col_indices) == [column for _, column in listed], scored
    near(scored.data, [whole[row + 1] for row, _ in listed], 1e-4)

    # Draws: repeatable, of the place's distribution, scored by the model as it is.
    one, two, another = (
        asked(sampler, prompt, temperature=0.7, seed=s, prompt_alt_tokens_k=3).prompt_alt_tokens for s in (4, 4, 5)
    )
    tokens, logprobs = one.tokens.to_numpy(), one.logprobs.to_numpy()
    assert tokens.shape == logprobs.shape == (69, 3), tokens.shape
    assert (tokens == two.tokens.to_numpy()).all() and (tokens != another.tokens.to_numpy()).any()
    again = asked(sampler, prompt, target_prompt_logprobs=tensor(tokens, "int64")).target_prompt_logprobs.to_numpy()
    near(again, logprobs, 1e-4)
    greedy = asked(sampler, prompt, temperature=0.0, prompt_alt_tokens_k=2, topk_prompt_logprobs=1)
    best = [row[0][0] for row in greedy.topk_prompt_logprobs[1:]]
    assert (greedy.prompt_alt_tokens.tokens.to_numpy() == np.array([best, best]).T).all()

    for bad in (grid[:-1], np.full((69, 1), -1), np.full((69, 1), VOCABULARY)):
        refused(lambda b=bad: asked(sampler, prompt, target_prompt_logprobs=tensor(b, "int64")))
    refused(lambda: asked(sampler, prompt, prompt_alt_tokens_k=1000), "1000")


@case("C93-last-n")
def best_tokens_of_the_end() -> None:
    sampler = base_sampler()
    both = {"include_prompt_logprobs": True, "topk_prompt_logprobs": 2}
    whole, end = (asked(sampler, PROMPT, **both, **more) for more in ({}, {"prompt_logprobs_last_n": 3}))
    assert end.topk_prompt_logprobs[:-3] == [None] * (len(PROMPT) - 3), end.topk_prompt_logprobs
    assert end.topk_prompt_logprobs[-3:] == whole.topk_prompt_logprobs[-3:]
    near(end.prompt_logprobs[-3:], whole.prompt_logprobs[-3:], 1e-5)


@case("C93-cache")
def prompt_cache() -> None:
    service = client()
    sampler = base_sampler(service)
    prompt = some_tokens(150, 94)
    first, second = (asked(sampler, prompt, n=2, max_tokens=4, seed=6) for _ in range(2))
    assert (first.prompt_cache_hit_tokens, second.prompt_cache_hit_tokens) == (0, 128), (first, second)
    assert drawn(first) == drawn(second)
    assert [list(s.logprobs) for s in first.sequences] == [list(s.logprobs) for s in second.sequences]
    # The prompt's own logprobs need all of it; those of its end do not.
    assert asked(sampler, prompt, include_prompt_logprobs=True).prompt_cache_hit_tokens == 0
    training = lora(service)
    for stranger in (base_sampler(client(OTHER_KEY)), sampler_of(training)):
        assert asked(stranger, prompt).prompt_cache_hit_tokens == 0
    now = datetime.now(timezone.utc)
    admin = tinker.AdminClient() if version() >= (0, 36) else service.create_rest_client()
    usage = done(admin.get_billing_usage(now - timedelta(hours=2), now + timedelta(hours=1)))
    session = training.model_id.split(":")[0]
    infos = [row.event_info for row in usage.data if row.session_id == session]
    prefill = {info.cached: info.token_count for info in infos if info.type == "sampling_prefill"}
    assert prefill == {False: 150 + 22 + 150 + 150, True: 128}, prefill


@case("C62")
def narrow_filters_are_greedy() -> None:
    sampler = base_sampler()
    greedy = drawn(sample(sampler, PROMPT, max_tokens=10, stop=[]))
    assert drawn(sample(sampler, PROMPT, max_tokens=10, stop=[], temperature=1.0, top_k=1, seed=1)) == greedy
    assert drawn(sample(sampler, PROMPT, max_tokens=10, stop=[], temperature=1.0, top_p=1e-6, seed=1)) == greedy


@case("C66")
def resent_requests() -> None:
    """The same request again, as a lost answer makes a client send it: the same request_id and sequence ids."""
    with watched() as (wire, service):
        sample(base_sampler(service), PROMPT, n=2, temperature=1.0)
        training = lora(service)
        forward_backward(training, [weighted(PROMPT)])
        done(training.optim_step(adam()))
        names = ("asample", "optim_step", "create_model", "create_sampling_session")
        names += ("forward_backward",) if wire.of("forward_backward") else ()
        for name in names:
            first = wire.of(name)[0]
            status, answer = post(name, first.body, first.headers)
            assert status in (200, 202), (name, status, answer)
            assert answer == json.loads(first.answer), (name, answer, first.answer)


@case("C64-copy")
def pickled_client() -> None:
    """Copies count from numbers of their own, far beyond 2^53: nothing is a repetition, nothing is rounded together."""
    with watched() as (wire, service):
        sampler = base_sampler(service)
        copies = [pickle.loads(pickle.dumps(sampler)) for _ in range(2)]
        for each in (sampler, *copies, *copies):
            assert len(drawn(sample(each, PROMPT, max_tokens=3, temperature=1.0, stop=[]))[0]) == 3
        requests = [json.loads(e.answer)["request_id"] for e in wire.of("asample")]
        numbers = [e.json["seq_id"] for e in wire.of("asample")]
        assert len(set(requests)) == len(set(numbers)) == 5, (numbers, requests)
        assert max(numbers) > 2**53, numbers


@case("C65-handle")
def sampler_handle() -> None:
    sampler = base_sampler()
    copy = done(tinker.SamplingClient.from_sampler_handle(sampler.get_sampler_handle()))
    assert drawn(sample(copy, PROMPT, stop=[])) == drawn(sample(sampler, PROMPT, stop=[]))


@case("C72")
def paused_by_a_limit() -> None:
    """Needs a server whose tenants may draw 6000 tokens a minute and that holds a poll for a second."""
    heard: list[str] = []
    listener = logging.Handler(logging.WARNING)
    listener.emit = lambda record: heard.append(record.getMessage())
    logging.getLogger().addHandler(listener)
    sampler = base_sampler()
    params = types.SamplingParams(max_tokens=100, temperature=1.0, stop=[])
    futures = [sampler.sample(prompt=text(PROMPT), num_samples=n, sampling_params=params) for n in (50, 20)]
    assert [len(done(future).sequences) for future in futures] == [50, 20]
    paused = [message for message in heard if "is paused" in message]
    assert len(paused) == 1, heard
    reason = r"Sampling is paused for sampler \S+ Reason: over its limit of 6000 sampling tokens a minute; about \d+ s to go"
    assert re.match(reason, paused[0]), paused[0]


@case("C63-short")
def many_samples_at_once() -> None:
    sampler = base_sampler()
    params = types.SamplingParams(max_tokens=4, temperature=1.0, stop=[])
    futures = [
        sampler.sample(prompt=text(PROMPT[: 2 + i % 7]), num_samples=1, sampling_params=params) for i in range(200)
    ]
    assert all(len(done(future).sequences[0].tokens) == 4 for future in futures)
    alone = sample(sampler, PROMPT, max_tokens=12, stop=[])
    crowd = [sampler.sample(prompt=text(PROMPT[: 2 + i % 7]), num_samples=1, sampling_params=params) for i in range(20)]
    assert drawn(sample(sampler, PROMPT, max_tokens=12, stop=[])) == drawn(alone), "company changed a greedy sample"
    for future in crowd:
        done(future)
