"""Samples that are polled for together, joined or cancelled; copies of checkpoints; what an account is told of itself."""

from __future__ import annotations

import asyncio
import pickle
import uuid
from datetime import datetime, timedelta, timezone

from basics import *  # noqa: F403

PROMPT = some_tokens(4, 74)


def saved(service, *names: str):
    """A fresh run with these checkpoints; the run's id and their paths."""
    training = lora(service)
    return training, [done(training.save_state(name)).path for name in names]


@case("C95")
def session_poll() -> None:
    flags = config(sample_use_retrieve_futures=True, sample_join_sampling_session=True)
    with watched(**flags) as (wire, service):
        sampler = base_sampler(service)
        copy = pickle.loads(pickle.dumps(sampler))
        answers = [sample(each, PROMPT).sequences[0] for each in (sampler, copy) for _ in range(3)]
        assert len({answer.sequence_id for answer in answers}) == 6, answers
        assert len({tuple(answer.tokens) for answer in answers}) == 1, answers
        assert "retrieve_futures" in wire.names, wire.names
        numbers = sorted(exchange.json["seq_id"] for exchange in wire.of("asample"))
        assert numbers == [0, 1, 2, 10**9, 10**9 + 1, 10**9 + 2], numbers


@case("C96")
def cancelled_sample() -> None:
    with watched() as (wire, service):
        sampler = base_sampler(service)
        params = types.SamplingParams(max_tokens=CONTEXT - 8, stop=[])

        async def abandon() -> None:
            waiting = asyncio.create_task(sampler.sample_async(text(PROMPT), 64, params))
            until = time.monotonic() + 20
            while "retrieve_future" not in wire.names:  # from here on the SDK knows what to cancel
                assert time.monotonic() < until, wire.names
                await asyncio.sleep(0.02)
            waiting.cancel()
            await asyncio.wait([waiting])
            assert waiting.cancelled(), "64 sequences were there at once; nothing was left to cancel"

        asyncio.run(abandon())
        assert wire.wait_for("cancel_future", 1, 20), wire.names
        (cancelled,) = wire.of("cancel_future")
        status, answer = post("retrieve_future", {"request_id": cancelled.json["request_id"]})
        assert status == 200 and answer["code"] == "CANCELLED", (status, answer)


@case("C98")
def copied() -> None:
    service = client()
    rest = service.create_rest_client()
    _, (path,) = saved(service, "a")
    project = f"project-{uuid.uuid4()}"
    copy = done(rest.copy_weights(path, project))
    assert copy != path and copy.endswith("/weights/a"), copy
    done(rest.delete_checkpoint_from_tinker_path(path))
    assert done(service.create_training_client_from_state_with_optimizer(copy)).model_id
    assert len(done(rest.list_training_runs(project_id=project)).training_runs) == 1


@case("C84")
def account() -> None:
    service = client()
    rest = service.create_rest_client()
    training, (path,) = saved(service, "a")
    forward_backward(training, [weighted(some_tokens(9, 84))])
    done(rest.publish_checkpoint_from_tinker_path(path))
    admin = rest if version() < (0, 36) else tinker.AdminClient()
    entries = done(admin.get_audit_log(event_type="checkpoints")).entries
    assert any(entry.event == "checkpoint_publish" and entry.tinker_path == path for entry in entries), entries
    now = datetime.now(timezone.utc)
    usage = done(admin.get_billing_usage(now - timedelta(hours=2), now + timedelta(hours=1)))
    session = training.model_id.split(":")[0]
    events = [row.event_info for row in usage.data if row.session_id == session]
    assert [event.token_count for event in events if event.type == "training"] == [8], usage
    assert [event.count for event in events if event.type == "checkpoint"] == [1], usage
    if version() >= (0, 32):
        storage = done(admin.get_current_checkpoint_storage_usage())
        assert sum(row.checkpoint_count for row in storage.data) >= 1, storage


@case("C10")
def whoami() -> None:
    with watched(**config(pjwt_auth_enabled=True)) as (wire, service):
        training = lora(service)
        assert "auth/token" in wire.names, wire.names
        who = done(service.create_rest_client().whoami())
        run = done(service.create_rest_client().get_training_run(training.model_id))
        assert who.user_urn == run.model_owner, (who, run)
        assert who.email, who
        assert version() < (0, 34) or who.org_urn, who
