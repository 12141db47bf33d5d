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


@case("C96")
def cancelled_sample() -> None:
    with watched() as (wire, service):
        sampler = base_sampler(service)
        params = types.SamplingParams(max_tokens=CONTEXT - 8, stop=[])

        async def abandon() -> None:
            waiting = asyncio.create_task(sampler.sample_async(text(PROMPT), 64, params))
            assert await asyncio.to_thread(wire.wait_for, "asample", 1, 20), wire.names
            waiting.cancel()
            await asyncio.wait([waiting])
            assert waiting.cancelled(), "64 sequences were there at once; nothing was left to cancel"

        asyncio.run(abandon())
        until = time.monotonic() + 20
        while "cancel_future" not in wire.names:
            assert time.monotonic() < until, wire.names
            time.sleep(0.05)


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
    infos = [row.event_info for row in usage.data if row.session_id == session]
    assert [info.token_count for info in infos if info.type == "training"] == [8], usage
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
