"""Every public method of the SDK's clients once, in both of its forms: plain, and `_async` as notebooks and recipes call it.

The tour says what is asked, as owner, name and arguments; whoever drives it decides on the form and sends back the answer.
Each answer is looked at a little: that a method works in depth is for the cases of its theme.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Generator
from datetime import datetime, timedelta, timezone

import tinker
from basics import *  # noqa: F403

DATA = [weighted(some_tokens(8, 91))]
PROMPT = text(some_tokens(4, 92))
GREEDY = types.SamplingParams(max_tokens=3, temperature=0.0, stop=[])

Tour = Generator[tuple, object, None]


def drive_plain(tour: Tour) -> None:
    answer = None
    while True:
        try:
            owner, name, *arguments = tour.send(answer)
        except StopIteration:
            return
        answer = done(getattr(owner, name)(*arguments))


def drive_async(tour: Tour) -> None:
    """The `_async` form where there is one. What it gives is awaited until it is a value: old SDKs give a future first."""

    async def drive() -> None:
        answer = None
        while True:
            try:
                owner, name, *arguments = tour.send(answer)
            except StopIteration:
                return
            answer = getattr(owner, f"{name}_async", None) or getattr(owner, name)
            answer = answer(*arguments)
            while inspect.isawaitable(answer) or hasattr(answer, "result_async"):
                answer = await (answer if inspect.isawaitable(answer) else answer.result_async())

    asyncio.run(drive())


def training_and_sampling() -> Tour:
    service = client(**({"project_id": "project"} if version() >= (0, 28) else {}))
    models = (yield service, "get_server_capabilities").supported_models
    assert MODEL in [model.model_name for model in models], models
    training = yield service, "create_lora_training_client", MODEL, 4, 1
    before = yield training, "forward", DATA, "cross_entropy"
    output = yield training, "forward_backward", DATA, "cross_entropy"
    near(lp(output)[0], lp(before)[0], 1e-5)
    yield training, "optim_step", adam(1e-2)
    assert (yield training, "get_info").model_id == training.model_id
    path = (yield training, "save_state", "a").path
    trained = lp((yield training, "forward", DATA, "cross_entropy"))[0]
    yield from resumed(service, training, path, trained)
    yield from sampled(service, training)
    if version() >= (0, 28):
        assert "/external_weights/" in (yield training, "save_weights_external", "e").path
        assert (yield service, "copy_weights", path).endswith("/weights/a")
    yield service, "create_rest_client"
    if version() >= (0, 27):
        assert service.get_console_url() and training.get_console_url()
        yield service, "close", "success"


def resumed(service, training, path: str, trained) -> Tour:
    ways = [(service, "create_training_client_from_state"), (training, "load_state")]
    if version() >= (0, 5):
        ways += [(service, "create_training_client_from_state_with_optimizer"), (training, "load_state_with_optimizer")]
    for owner, name in ways:
        loaded = yield owner, name, path
        model = training if owner is training else loaded
        near(lp((yield model, "forward", DATA, "cross_entropy"))[0], trained, 1e-5)


def sampled(service, training) -> Tour:
    path = (yield training, "save_weights_for_sampler", "s").path
    samplers = [
        (yield training, "save_weights_and_get_sampling_client"),
        (yield training, "create_sampling_client", path),
        (yield service, "create_sampling_client", path),
    ]
    drawn = []
    for sampler in samplers:
        drawn.append(list((yield sampler, "sample", PROMPT, 1, GREEDY).sequences[0].tokens))
        assert len((yield sampler, "compute_logprobs", PROMPT)) == 4
        if version() >= (0, 15):
            assert (yield sampler, "get_base_model") == MODEL
        if version() >= (0, 32):
            copy = tinker.SamplingClient.from_sampler_handle(sampler.get_sampler_handle())
            drawn.append(list((yield copy, "sample", PROMPT, 1, GREEDY).sequences[0].tokens))
    assert all(tokens == drawn[0] for tokens in drawn), drawn


def looking_around() -> Tour:
    service = client()
    rest = service.create_rest_client()
    training = lora(service)
    run, session = training.model_id, training.model_id.split(":")[0]
    paths = [done(training.save_state(name)).path for name in ("a", "b")]
    sampler_path = done(training.save_weights_for_sampler("s")).path
    assert run in [each.training_run_id for each in (yield rest, "list_training_runs").training_runs]
    assert (yield rest, "get_training_run", run).training_run_id == run
    assert (yield rest, "get_training_run_by_tinker_path", paths[0]).training_run_id == run
    assert len((yield rest, "list_checkpoints", run).checkpoints) == 3
    if version() < (0, 36):
        assert (yield rest, "get_checkpoint_archive_url", run, "sampler_weights/s").url
        assert (yield rest, "get_checkpoint_archive_url_from_tinker_path", sampler_path).url
    if version() >= (0, 6):
        yield from sessions_and_users(rest, session, paths, sampler_path)
    if (0, 20) <= version() < (0, 38):  # their `_async` form fails on every loop but the SDK's own
        for owner in [rest] if version() < (0, 36) else [rest, tinker.AdminClient()]:
            assert done(owner.get_audit_log()).entries
    if version() >= (0, 24):
        yield from account(rest, session, paths[0])
    if version() >= (0, 28):
        out = done(training.save_weights_external("e")).path
        assert (yield rest, "get_external_weights_urls", out).urls
    yield rest, "delete_checkpoint", run, "weights/a"
    yield rest, "delete_checkpoint_from_tinker_path", paths[1]
    left = (yield rest, "list_checkpoints", run).checkpoints
    assert sampler_path in [each.tinker_path for each in left] and paths[0] not in [each.tinker_path for each in left]


def sessions_and_users(rest, session: str, paths: list[str], sampler_path: str) -> Tour:
    assert (yield rest, "get_weights_info_by_tinker_path", paths[0]).base_model == MODEL
    assert paths[1] in [each.tinker_path for each in (yield rest, "list_user_checkpoints").checkpoints]
    yield rest, "publish_checkpoint_from_tinker_path", paths[0]
    yield rest, "unpublish_checkpoint_from_tinker_path", paths[0]
    assert session in (yield rest, "list_sessions").sessions
    assert (yield rest, "get_session", session).training_run_ids
    if version() >= (0, 13):
        yield rest, "set_checkpoint_ttl_from_tinker_path", sampler_path, 7200


def account(rest, session: str, path: str) -> Tour:
    yield rest, "assign_session_project", session, "project"
    assert (yield rest, "export_session_trace", session)
    now = datetime.now(timezone.utc)
    month = (now - timedelta(days=1), now + timedelta(days=1))
    for owner in [rest] if version() < (0, 36) else [rest, tinker.AdminClient()]:
        assert (yield owner, "get_billing_usage", *month).data is not None
        if version() >= (0, 38):
            assert (yield owner, "get_audit_log").entries
        if version() >= (0, 32):
            assert (yield owner, "get_current_checkpoint_storage_usage").data
    if version() >= (0, 34):  # whoami: C10, for it needs signed tokens
        assert (yield rest, "copy_weights", path, "project").startswith("tinker://")
    if version() >= (0, 36):
        request = types.SessionSearchRequest(session_id=session, owner={"type": "own"})
        assert [each.session_id for each in (yield rest, "search_sessions", request).sessions] == [session]


def both_of_samplers() -> Tour:
    with watched() as (wire, service):
        base_sampler(service)
        sampler = json.loads(wire.of("create_sampling_session")[0].answer)["sampling_session_id"]
    assert (yield client().create_rest_client(), "get_sampler", sampler).base_model == MODEL


def whole() -> Tour:
    yield from training_and_sampling()
    yield from looking_around()
    if version() >= (0, 6):
        yield from both_of_samplers()


@case("M1-plain")
def plain_methods() -> None:
    drive_plain(whole())


@case("M1-async")
def async_methods() -> None:
    drive_async(whole())
