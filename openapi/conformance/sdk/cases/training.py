"""forward, forward_backward and optim_step: sums, order, chunks, and the optimiser's arithmetic."""

from __future__ import annotations

import pathlib

import numpy as np
from basics import *  # noqa: F403
from safetensors.numpy import load_file


@case("C19")
def cross_entropy_of_one_datum() -> None:
    tokens = some_tokens(13)
    weights = np.array([0, 0, 0.5, 1, -0.25, 1, 1, 0, 2, 1, 1, 1], dtype=np.float32)
    output = forward_backward(lora(), [datum(tokens, weights=weights)])
    (logprobs,) = lp(output)
    assert logprobs.shape == (12,) and logprobs.dtype == np.float32 and np.all(logprobs < 0)
    near(loss_of(output), -np.sum(logprobs.astype(np.float64) * weights), 1e-4)
    assert all(name.count(":") == 1 for name in output.metrics), output.metrics


@case("C20")
def gradients_accumulate() -> None:
    data = [weighted(some_tokens(12))]
    twice, doubled, once = lora(), lora(), lora()
    # Adam's first step does not see the gradient's scale; a clipped or doubled second gradient does show.
    for training, calls, weight in ((twice, 2, 1.0), (doubled, 1, 2.0), (once, 1, 1.0)):
        step(training, data, adam(1e-2))
        for _ in range(calls):
            forward_backward(training, [weighted(some_tokens(12), weight)])
        done(training.optim_step(adam(1e-2)))
    near(logprobs_of(twice, data)[0], logprobs_of(doubled, data)[0], 1e-4)
    differ(logprobs_of(twice, data)[0], logprobs_of(once, data)[0])


@case("C21")
def forward_leaves_no_gradient() -> None:
    training, data = lora(), [weighted(some_tokens(12))]
    forward = done(training.forward(data, "cross_entropy"))
    backward = forward_backward(training, data)
    near(lp(forward)[0], lp(backward)[0], 1e-6)
    near(loss_of(forward), loss_of(backward), 1e-4)
    fresh = lora()
    before = logprobs_of(fresh, data)[0]
    done(fresh.optim_step(adam(1e-1)))
    near(logprobs_of(fresh, data)[0], before, 1e-6)


@case("C22")
def many_datums_in_chunks() -> None:
    count = 2500
    data = [weighted(some_tokens(3 + i % 3, i)) for i in range(count)]
    with watched() as (wire, service):
        output = forward_backward(lora(service), data)
        logprobs = lp(output)
        assert [len(each) for each in logprobs] == [2 + i % 3 for i in range(count)]
        requests = [e for e in wire.exchanges if e.name in ("forward_backward",)]
        assert len(requests) == (3 if version() >= (0, 7) else 20), [len(e.body) for e in requests]
        if version() >= (0, 25):  # parallel chunks: the first is posted last
            assert [seq_of(e.body) for e in requests][-1] == 1, [seq_of(e.body) for e in requests]
        near(loss_of(output) / count, -sum(float(each.sum()) for each in logprobs) / count, 1e-4)
        alone = lp(forward_backward(lora(service), data[2400:2401]))[0]
        near(logprobs[2400], alone, 1e-4)


@case("C23")
def chunks_in_order() -> None:
    with watched(**config(parallel_fwdbwd_chunks=False, fwdbwd_max_chunk_len=2)) as (wire, service):
        training = lora(service)
        forward_backward(training, [weighted(some_tokens(4, i)) for i in range(5)])
        done(training.optim_step(adam()))
        assert [seq_of(e.body) for e in wire.of("forward_backward")] == [1, 2, 3]
        assert wire.of("optim_step")[0].json["seq_id"] == 4


@case("C24")
def chunk_length_is_the_server_s() -> None:
    with watched(**config(fwdbwd_max_chunk_len=2)) as (wire, service):
        data = [weighted(some_tokens(4, i)) for i in range(5)]
        output = forward_backward(lora(service), data)
        assert len(wire.of("forward_backward")) == 3
        whole = forward_backward(lora(), data)
        for got, wanted in zip(lp(output), lp(whole), strict=True):
            near(got, wanted, 1e-5)
        near(loss_of(output), loss_of(whole), 1e-3)


@case("C25")
def zstd_bodies() -> None:
    data = [weighted(some_tokens(200, i)) for i in range(8)]
    with watched(**config(proto_compress_fwdbwd=True)) as (wire, service):
        output = forward_backward(lora(service), data)
        encodings = {k.lower(): v for k, v in wire.of("forward_backward")[0].headers.items()}
        assert encodings.get("content-encoding") == "zstd", encodings
    for got, wanted in zip(lp(output), lp(forward_backward(lora(), data)), strict=True):
        near(got, wanted, 1e-6)


@case("C28")
def queued_work_runs_in_order() -> None:
    data = [weighted(some_tokens(12))]
    queued, awaited = lora(), lora()
    futures = []
    for _ in range(3):
        futures += [queued.forward_backward(data, "cross_entropy"), queued.optim_step(adam(1e-2))]
    losses = [loss_of(done(future)) for future in futures[::2]]
    expected = [loss_of(step(awaited, data, adam(1e-2))) for _ in range(3)]
    near(losses, expected, 1e-3)
    assert losses[0] > losses[1] > losses[2], losses


@case("C29")
def optim_step_with_defaults() -> None:
    training, data = lora(), [weighted(some_tokens(12))]
    before = logprobs_of(training, data)[0]
    forward_backward(training, data)
    metrics = done(training.optim_step(types.AdamParams())).metrics
    assert metrics is None or all(isinstance(value, float) for value in metrics.values()), metrics
    differ(logprobs_of(training, data)[0], before, 1e-5)


@case("C30")
def learning_rate_zero() -> None:
    training, data = lora(), [weighted(some_tokens(12))]
    before = logprobs_of(training, data)[0]
    step(training, data, adam(0.0))
    near(logprobs_of(training, data)[0], before, 1e-6)


@case("C31")
def weight_decay_and_clipping() -> None:
    """What the wire can show of AdamW; the numbers themselves are held by the engine's goldens against PyTorch."""
    data = [weighted(some_tokens(12, 5))]

    def after(*steps: types.AdamParams, weight: float = 1.0) -> np.ndarray:
        training = lora(seed=3)
        for params in steps:
            step(training, [weighted(some_tokens(12, 5), weight)], params)
        return logprobs_of(training, data)[0]

    plain = after(adam(1e-2), adam(1e-2))
    # Bias correction and division by the root of the second moment: the loss's scale cancels, in every step.
    near(after(adam(1e-2), adam(1e-2), weight=8.0), plain, 2e-3)
    # A clip norm above the gradient's changes nothing; one below it in the second step only makes that step smaller.
    near(after(adam(1e-2, grad_clip_norm=1e9), adam(1e-2, grad_clip_norm=1e9)), plain, 1e-5)
    differ(after(adam(1e-2), adam(1e-2, grad_clip_norm=1e-3)), plain)
    # Decoupled decay: with lr * decay = 1 every weight is gone before its own step of lr * sign(gradient).
    base = lp(done(lora(seed=3).forward(data, "cross_entropy")))[0]
    tiny_step = after(adam(1e-1), adam(1e-7, weight_decay=1e7))
    near(tiny_step, base, 1e-3)
    differ(after(adam(1e-1), adam(1e-7)), base, 1e-2)


@case("C31-reference")
def adamw_in_numpy() -> None:
    """Three saved steps against AdamW written out: the gradient is read off the first moments, all else must follow."""
    decay, clip, rates, beta1, beta2, eps = 0.1, 0.5, (1e-2, 2e-2, 5e-3), 0.9, 0.95, 1e-12
    training = lora(rank=4, seed=3)
    states = [saved(training, "start")]
    for number, rate in enumerate(rates):
        params = adam(rate, beta1=beta1, beta2=beta2, eps=eps, weight_decay=decay, grad_clip_norm=clip)
        step(training, [weighted(some_tokens(12, number), 4.0)], params)
        states.append(saved(training, f"step-{number}"))
    for number, rate in enumerate(rates, 1):
        before, after = states[number - 1], states[number]
        gradients = {}
        for name, weights in before.weights.items():
            m0, v0 = (x.get(name, np.zeros_like(weights)) for x in (before.first, before.second))
            m1, v1 = after.first[name], after.second[name]
            gradients[name] = g = (m1 - beta1 * m0) / (1 - beta1)
            near(v1, beta2 * v0 + (1 - beta2) * g**2, 1e-6)
            update = (m1 / (1 - beta1**number)) / (np.sqrt(v1 / (1 - beta2**number)) + eps)
            near(after.weights[name], weights * (1 - rate * decay) - rate * update, 2e-6)
        norm = np.sqrt(sum(np.sum(g**2) for g in gradients.values()))
        near(norm, clip, 1e-3)  # the loss is scaled so that every step is clipped


class Saved:
    """A training checkpoint's numbers, from the files that the server wrote."""

    def __init__(self, folder: pathlib.Path) -> None:
        def read(name: str) -> dict[str, np.ndarray]:
            return {key: x.astype(np.float64) for key, x in load_file(folder / name).items()}

        self.weights = {key: x for key, x in read("adapter_model.safetensors").items()}
        state = read("optimizer.safetensors")
        self.first = {key[2:]: x for key, x in state.items() if key.startswith("m/")}
        self.second = {key[2:]: x for key, x in state.items() if key.startswith("v/")}


def saved(training, name: str) -> Saved:
    folder = STATE_DIR / "checkpoints" / training.model_id.replace(":", "_") / "weights"
    known = set(folder.rglob("adapter_model.safetensors"))
    done(training.save_state(name))
    (new,) = set(folder.rglob("adapter_model.safetensors")) - known
    return Saved(new.parent)


@case("C41")
def empty_data() -> None:
    """The SDK sends nothing (and since 0.20 says so)."""
    with watched() as (wire, service):
        training = lora(service)
        try:
            forward_backward(training, [])
        except (ValueError, AssertionError, IndexError):
            pass
        else:
            assert version() < (0, 20), "no data was accepted"
        assert wire.of("forward_backward") == []


def seq_of(body: bytes) -> int:
    from tinker.proto import tinker_public_pb2

    return tinker_public_pb2.ForwardBackwardRequest.FromString(body).seq_id


@case("C94")
def provenance() -> None:
    """A sampled answer goes back into training with spans that say where its tokens come from."""
    training = lora()
    prompt = some_tokens(4, 94)
    sampled = sample(sampler_of(training), prompt, max_tokens=6, stop=[]).sequences[0]
    tokens = [*prompt, *sampled.tokens]
    plain = weighted(tokens)
    of = {"sequence_id": sampled.sequence_id}
    answer = len(sampled.tokens)
    spans = plain.with_provenance(
        model_input=[
            types.PromptProvenanceSpan(**of, length=len(prompt)),
            types.SampledProvenanceSpan(**of, length=answer - 1),
        ],
        loss_fn_inputs=[
            types.PromptProvenanceSpan(**of, offset=1, length=len(prompt) - 1),
            types.SampledProvenanceSpan(**of, length=answer),
        ],
    )
    with_spans, without = (loss_of(done(training.forward([each], "cross_entropy"))) for each in (spans, plain))
    near(with_spans, without, 1e-6)
    assert loss_of(step(training, [spans])) > 0
