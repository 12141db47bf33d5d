"""Saving, loading, resuming, and samplers of saved and of present weights."""

from __future__ import annotations

from basics import *  # noqa: F403

DATA = [weighted(some_tokens(12, 41)), weighted(some_tokens(7, 42))]
PROMPT = some_tokens(5, 41)


def trained(service=None, steps: int = 2, **options):
    training = lora(service, **options)
    for _ in range(steps):
        step(training, DATA, adam(1e-2))
    return training


@case("C44")
def save_state() -> None:
    training = trained()
    more = {"user_metadata": {"note": "first"}} if version() >= (0, 28) else {}
    path = done(training.save_state("a", **more)).path
    assert path == f"tinker://{training.model_id}/weights/a", path


@case("C45")
def save_state_again() -> None:
    training = trained()
    first = done(training.save_state("a")).path
    refused(lambda: done(training.save_state("a")), "a")
    other = done(training.save_state("b")).path
    assert first != other
    assert done(training.save_weights_for_sampler("a")).path.endswith("/sampler_weights/a")
    assert loss_of(forward_backward(training, DATA)) > 0


@case("C45-overwrite")
def save_state_over_an_old_one() -> None:
    service = client()
    training = trained(service)
    done(training.save_state("a"))
    step(training, DATA, adam(1e-2))
    now = logprobs_of(training, DATA)[0]
    path = done(training.save_state("a", overwrite=True)).path
    near(logprobs_of(done(service.create_training_client_from_state(path)), DATA)[0], now, 1e-5)


@case("C48")
def sampler_of_saved_weights() -> None:
    with watched() as (wire, service):
        training = trained(service, 4)
        path = done(training.save_weights_for_sampler("s")).path
        assert path == f"tinker://{training.model_id}/sampler_weights/s", path
        sampler = done(service.create_sampling_client(model_path=path))
        if version() >= (0, 38):
            assert [e.status for e in wire.exchanges if e.name.startswith("samplers/")] == [200], wire.names
        result = sample(sampler, PROMPT, max_tokens=6, stop=[])
        whole = PROMPT + list(result.sequences[0].tokens)
        near(result.sequences[0].logprobs, logprobs_of(training, [weighted(whole)])[0][len(PROMPT) - 1 :], 1e-3)
        from_base = done(base_sampler(service).compute_logprobs(text(whole)))
        differ(done(sampler.compute_logprobs(text(whole)))[1:], from_base[1:], 1e-2)


@case("C49")
def samplers_are_frozen() -> None:
    training = trained()
    first = sampler_of(training)
    before = done(first.compute_logprobs(text(PROMPT)))[1:]
    step(training, DATA, adam(3e-2))
    second = sampler_of(training)
    near(done(first.compute_logprobs(text(PROMPT)))[1:], before, 1e-6)
    differ(done(second.compute_logprobs(text(PROMPT)))[1:], before)


@case("C50")
def load_state_resets_the_optimiser() -> None:
    service = client()
    training = trained(service)
    saved = logprobs_of(training, DATA)
    path = done(training.save_state("a")).path
    fresh = done(service.create_training_client_from_state(path))
    step(training, DATA, adam(5e-2))
    differ(logprobs_of(training, DATA)[0], saved[0])
    done(training.load_state(path))
    for model in (training, fresh):
        for got, wanted in zip(logprobs_of(model, DATA), saved, strict=True):
            near(got, wanted, 1e-5)
        step(model, DATA, adam(1e-2))
    # Both took the same first step of a new optimiser.
    near(logprobs_of(training, DATA)[0], logprobs_of(fresh, DATA)[0], 1e-5)


@case("C51")
def resume_with_optimiser() -> None:
    service = client()
    training = trained(service)
    path = done(training.save_state("a")).path
    resumed = done(service.create_training_client_from_state_with_optimizer(path))
    without = done(service.create_training_client_from_state(path))
    for model in (training, resumed, without):
        step(model, DATA, adam(1e-2))
    expected = logprobs_of(training, DATA)[0]
    near(logprobs_of(resumed, DATA)[0], expected, 1e-5)
    differ(logprobs_of(without, DATA)[0], expected)


@case("C52")
def resume_on_the_wire() -> None:
    with watched() as (wire, service):
        path = done(trained(service).save_state("a")).path
        session = wire.of("create_session")[-1]
        before = len(wire.exchanges)
        resumed = done(service.create_training_client_from_state(path))
        names = [
            e.name
            for e in wire.exchanges[before:]
            if e.name not in ("retrieve_future", "telemetry", "session_heartbeat")
        ]
        if version() >= (0, 24):
            assert names.count("load_weights") == 1 and "create_model" not in names, names
            assert resumed.model_id.endswith(":train:1"), resumed.model_id
        else:
            asked = "weights_info" if version() >= (0, 6) else f"training_runs/{path.split('/')[2]}"
            assert names.index(asked) < names.index("create_model") < names.index("load_weights"), names
        if version() >= (0, 38):
            assert names == ["load_weights", "get_info"], names
        assert session.status == 200
        assert loss_of(forward_backward(resumed, DATA)) > 0


@case("C52-unknown")
def resume_from_nothing() -> None:
    service = client()
    training = lora(service)
    path = f"tinker://{training.model_id}/weights/never-saved"
    refused(lambda: done(service.create_training_client_from_state(path)), "never-saved")
    refused(lambda: done(service.create_sampling_client(model_path=path)), "never-saved")
    assert loss_of(forward_backward(training, DATA)) > 0


@case("C44-other-session")
def checkpoints_outlive_their_session() -> None:
    first = client()
    training = trained(first)
    expected = logprobs_of(training, DATA)[0]
    path = done(training.save_state("kept")).path
    if version() >= (0, 28):
        done(first.close("success"))
    near(logprobs_of(done(client().create_training_client_from_state(path)), DATA)[0], expected, 1e-5)


@case("C49-inflight")
def samplers_in_flight() -> None:
    training = lora()
    prompt = text(some_tokens(6, 49))

    def sampler(kind: str):
        return done(training.save_weights_and_get_sampling_client(kind=kind))

    snapshot, flying = sampler("snapshot"), sampler("inflight")
    before = done(flying.compute_logprobs(prompt))[1:]
    near(done(snapshot.compute_logprobs(prompt))[1:], before, 1e-6)
    step(training, [weighted(some_tokens(12, 50))], adam(1e-2))
    newer = sampler("inflight")
    after = done(newer.compute_logprobs(prompt))[1:]
    differ(after, before)
    near(done(flying.compute_logprobs(prompt))[1:], after, 1e-6)
    near(done(snapshot.compute_logprobs(prompt))[1:], before, 1e-6)
