"""What bad input gets through the SDK: an error at once that names the thing, and the next good request served."""

from __future__ import annotations

import json

import numpy as np
from basics import *  # noqa: F403
from wire import Wire

GOOD = some_tokens(8, 21)


def refused_then_served(training, call, *words: str) -> None:
    refused(call, *words)
    assert loss_of(forward_backward(training, [weighted(GOOD)])) > 0


@case("C15")
def unknown_base_model() -> None:
    service = client()
    refused(lambda: lora(service, base_model="no-such/model"), "no-such/model", MODEL)
    refused(lambda: done(service.create_sampling_client(base_model="no-such/model")), "no-such/model", MODEL)
    lora(service)


@case("C16")
def rank_zero() -> None:
    service = client()
    refused(lambda: lora(service, rank=0), "rank")
    lora(service)


@case("C37")
def unknown_loss() -> None:
    training = lora()
    refused_then_served(
        training,
        lambda: forward_backward(training, [weighted(GOOD)], "cross_entorpy"),
        "cross_entorpy",
        "importance_sampling",
    )


@case("C37-missing")
def missing_tensor() -> None:
    training = lora()
    without_targets = types.Datum(model_input=text(GOOD), loss_fn_inputs={"weights": tensor(np.ones(8))})
    refused_then_served(training, lambda: forward_backward(training, [without_targets]), "target_tokens")
    refused_then_served(
        training,
        lambda: forward_backward(training, [datum(GOOD, advantages=np.ones(7))], "importance_sampling"),
        "logprobs",
    )


@case("C37-nan")
def not_a_number() -> None:
    training = lora()
    bad = np.ones(7, dtype=np.float32)
    bad[3] = np.nan
    refused_then_served(training, lambda: forward_backward(training, [datum(GOOD, weights=bad)]), "weights")
    bad[3] = np.inf
    refused_then_served(
        training,
        lambda: forward_backward(training, [policy_datum(GOOD, np.zeros(7), bad)], "importance_sampling"),
        "advantages",
    )


@case("C37-shape")
def wrong_shape() -> None:
    training = lora()
    refused_then_served(
        training, lambda: forward_backward(training, [datum(GOOD, weights=np.ones(5))]), "weights", "5", "7"
    )
    short = types.Datum(model_input=text(GOOD), loss_fn_inputs={"target_tokens": tensor(GOOD[:3], "int64")})
    refused_then_served(training, lambda: forward_backward(training, [short]), "target_tokens", "3", "8")


@case("C37-vocabulary")
def tokens_outside_the_vocabulary() -> None:
    training = lora()
    for tokens in ([20, VOCABULARY, 21, 22], [20, 21, 22, VOCABULARY + 7]):
        refused_then_served(training, lambda t=tokens: forward_backward(training, [weighted(t)]), str(max(tokens)))
    sampler = base_sampler()
    refused(lambda: sample(sampler, [20, VOCABULARY]), str(VOCABULARY))
    assert sample(sampler, [20, 21]).sequences


@case("C37-learning-rate")
def absurd_learning_rate() -> None:
    """The step that would leave numbers that are none is refused; the adapter stays, and so does everybody else's."""
    training, neighbour = lora(), lora()
    data = [weighted(GOOD)]
    before, untouched = logprobs_of(training, data)[0], logprobs_of(neighbour, data)[0]

    def explode() -> None:
        forward_backward(training, data)
        done(training.optim_step(adam(1e39 if version() >= (0, 25) else 1e38, weight_decay=1e5)))

    refused(explode)
    near(logprobs_of(training, data)[0], before, 1e-6)
    near(logprobs_of(neighbour, data)[0], untouched, 1e-6)
    step(training, data, adam(1e-2))
    differ(logprobs_of(training, data)[0], before)


@case("C97")
def what_is_not_public() -> None:
    service, training = client(), lora()
    dimuon = types.DimuonOptimizerConfig()
    refused(lambda: lora(service, optimizer=dimuon), "dimuon", "adamw")
    refused(lambda: done(training.optim_step(types.DimuonParams(learning_rate=1e-3))), "dimuon", "adamw")
    refused_then_served(
        training,
        lambda: forward_backward(training, [policy_datum(GOOD, -np.ones(7), np.ones(7))], "stable_reinforce"),
        "stable_reinforce",
        "gspo",
    )
    lora(service)


@case("C42")
def image_for_a_text_model() -> None:
    size = {"expected_tokens": 4} if version() >= (0, 7) else {"tokens": 4, "height": 2, "width": 2}
    image = types.ImageChunk(data=b"\x89PNG\r\n\x1a\n" + bytes(24), format="png", **size)
    chunks = [types.EncodedTextChunk(tokens=GOOD[:2]), image]
    sampler = base_sampler()
    prompt = types.ModelInput(chunks=chunks)
    greedy = types.SamplingParams(max_tokens=2, temperature=0.0)
    refused(lambda: done(sampler.sample(prompt=prompt, num_samples=1, sampling_params=greedy)), "image")
    assert sample(sampler, GOOD[:2]).sequences
    training = lora()
    targets = {"target_tokens": tensor(GOOD[:6], "int64")}
    bad = types.Datum(model_input=types.ModelInput(chunks=chunks), loss_fn_inputs=targets)
    refused_then_served(training, lambda: forward_backward(training, [bad]), "image")


@case("C43")
def beyond_the_context() -> None:
    sampler, training = base_sampler(), lora()
    refused(lambda: sample(sampler, some_tokens(CONTEXT + 1)), str(CONTEXT))
    refused(lambda: sample(sampler, some_tokens(CONTEXT - 2), max_tokens=8), str(CONTEXT))
    refused_then_served(
        training, lambda: forward_backward(training, [weighted(some_tokens(CONTEXT + 2))]), str(CONTEXT)
    )
    assert sample(sampler, [20, 21]).sequences


@case("C47")
def checkpoint_names() -> None:
    training = lora()
    for name in ("../x", "a/b", ""):
        refused(lambda n=name: done(training.save_state(n)))
    refused(lambda: done(training.save_weights_for_sampler("../x")))
    assert done(training.save_state("fine")).path.endswith("/weights/fine")


@case("C69")
def unknown_request() -> None:
    """A future whose number the server never gave: an error at once, not a wait."""

    def other_number(answer: dict) -> dict:
        return answer | {"request_id": "424242424242"}

    with Wire(SERVER, alter={"optim_step": other_number}) as wire:
        training = lora(client(base_url=wire.url))
        message = refused(lambda: done(training.optim_step(adam())))
        assert "404" in message, message


@case("C70")
def another_tenant_s_things() -> None:
    """Models, checkpoints, samplers and requests of one key look to another as if they were not there."""
    training = lora()
    path = done(training.save_state("mine")).path
    sampler_path = done(training.save_weights_for_sampler("mine")).path
    stranger = client(OTHER_KEY)
    foreign = lora(stranger)
    refused(lambda: done(stranger.create_training_client_from_state(path)))
    refused(lambda: done(stranger.create_sampling_client(model_path=sampler_path)))

    with watched() as (wire, service):
        owner = lora(service)
        done(owner.optim_step(adam()))
        request = json.loads(wire.of("optim_step")[0].answer)["request_id"]
    with Wire(SERVER, alter={"optim_step": lambda answer: answer | {"request_id": request}}) as wire:
        thief = lora(client(OTHER_KEY, base_url=wire.url))
        assert "404" in refused(lambda: done(thief.optim_step(adam())))
    assert loss_of(forward_backward(foreign, [weighted(GOOD)])) > 0
