"""Looking at runs, sessions and checkpoints; sharing, ending, copying and downloading them; the `tinker` command line."""

from __future__ import annotations

import asyncio
import io
import json as jsonlib
import pickle
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import uuid
from datetime import datetime, timedelta, timezone
from pathlib import Path

from basics import *  # noqa: F403

PROMPT = some_tokens(4, 74)


def saved(service, *names: str):
    """A fresh run with these checkpoints; the run's id and their paths."""
    training = lora(service)
    return training, [done(training.save_state(name)).path for name in names]


def fetch(url: str, **headers: str) -> tuple[bytes, dict[str, str]]:
    """As the command line does it: no key."""
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as response:
        return response.read(), {name.lower(): value for name, value in response.headers.items()}


@case("C74")
def runs_in_pages() -> None:
    # A tenant of its own: the totals are those of this case alone.
    service = client(f"{OTHER_KEY}")
    rest = service.create_rest_client()
    before = done(rest.list_training_runs(limit=1)).cursor.total_count
    ids = [lora(service).model_id for _ in range(3)]
    first = done(rest.list_training_runs(limit=2, offset=0))
    rest_of = done(rest.list_training_runs(limit=2, offset=2))
    assert first.cursor.total_count == before + 3, first.cursor
    assert [run.training_run_id for run in first.training_runs] == ids[:0:-1], (first, ids)
    assert rest_of.training_runs[0].training_run_id == ids[0], rest_of
    assert done(rest.list_training_runs(offset=10_000)).training_runs == []


@case("C75")
def run_of_a_path() -> None:
    service = client()
    training, (path,) = saved(service, "a")
    sampler = done(training.save_weights_for_sampler("s")).path
    run = done(service.create_rest_client().get_training_run_by_tinker_path(path))
    assert run.training_run_id == training.model_id and run.lora_rank == 8 and run.base_model == MODEL, run
    assert run.last_checkpoint.tinker_path == path, run
    assert run.last_sampler_checkpoint.tinker_path == sampler, run
    assert not run.corrupted, run


@case("C76")
def checkpoints_of_the_account() -> None:
    service = client()
    rest = service.create_rest_client()
    _, paths = saved(service, "a", "b", "c")
    page = done(rest.list_user_checkpoints(limit=2))
    assert [each.tinker_path for each in page.checkpoints] == paths[:0:-1], page
    assert page.cursor.limit == 2 and page.cursor.total_count >= 3, page.cursor


@case("C77")
def published() -> None:
    service = client()
    rest = service.create_rest_client()
    training = lora(service)
    path = done(training.save_weights_for_sampler("s")).path
    stranger = client(OTHER_KEY)
    refused(lambda: sample(done(stranger.create_sampling_client(model_path=path)), PROMPT), "s")
    done(rest.publish_checkpoint_from_tinker_path(path))
    done(rest.publish_checkpoint_from_tinker_path(path))
    assert sample(done(stranger.create_sampling_client(model_path=path)), PROMPT).sequences[0].tokens
    refused(lambda: done(stranger.create_rest_client().delete_checkpoint_from_tinker_path(path)), "s")
    assert done(rest.list_checkpoints(training.model_id)).checkpoints[0].public
    done(rest.unpublish_checkpoint_from_tinker_path(path))
    refused(lambda: sample(done(stranger.create_sampling_client(model_path=path)), PROMPT), "s")


@case("C78")
def time_to_live() -> None:
    service = client()
    rest = service.create_rest_client()
    training, (path,) = saved(service, "a")
    expiry = lambda: done(rest.list_checkpoints(training.model_id)).checkpoints[0].expires_at  # noqa: E731
    assert expiry() is None
    done(rest.set_checkpoint_ttl_from_tinker_path(path, 7200))
    left = expiry() - datetime.now(timezone.utc)
    assert abs(left - timedelta(hours=2)) < timedelta(minutes=1), left
    refused(lambda: done(rest.set_checkpoint_ttl_from_tinker_path(path, 60)), "3600")
    done(rest.set_checkpoint_ttl_from_tinker_path(path, None))
    assert expiry() is None


@case("C79")
def deleted() -> None:
    service = client()
    training, (path,) = saved(service, "a")
    done(service.create_rest_client().delete_checkpoint_from_tinker_path(path))
    assert done(service.create_rest_client().list_checkpoints(training.model_id)).checkpoints == []
    refused(lambda: done(service.create_training_client_from_state(path)), "a")
    assert done(training.save_state("a")).path == path


@case("C80")
def external_weights() -> None:
    service = client()
    training = lora(service)
    path = done(training.save_weights_external("x")).path
    assert path == f"tinker://{training.model_id}/external_weights/x", path
    answer = done(service.create_rest_client().get_external_weights_urls(path))
    assert sorted(answer.urls) == ["adapter_config.json", "adapter_model.safetensors"], answer
    assert answer.expires - datetime.now(timezone.utc) > timedelta(minutes=10), answer.expires
    assert jsonlib.loads(fetch(answer.urls["adapter_config.json"])[0])["r"] == 8
    whole, headers = fetch(answer.urls["adapter_model.safetensors"])
    assert int(headers["content-length"]) == len(whole), headers
    part, headers = fetch(answer.urls["adapter_model.safetensors"], Range="bytes=100-199")
    assert part == whole[100:200] and headers["content-range"].endswith(f"/{len(whole)}"), headers


@case("C81")
def archive() -> None:
    service = client()
    _, (path,) = saved(service, "a")
    answer = done(service.create_rest_client().get_checkpoint_archive_url_from_tinker_path(path))
    with tarfile.open(fileobj=io.BytesIO(fetch(answer.url)[0])) as tar:
        names = sorted(tar.getnames())
    assert names == ["adapter_config.json", "adapter_model.safetensors", "checkpoint_complete"], names


@case("C82")
def session_contents() -> None:
    service = client()
    training = lora(service)
    rest = service.create_rest_client()
    session = training.model_id.split(":")[0]
    base_sampler(service)
    assert session in done(rest.list_sessions(limit=20)).sessions
    info = done(rest.get_session(session))
    assert info.training_run_ids == [training.model_id], info
    assert len(info.sampler_ids) == 1, info
    assert done(rest.get_sampler(info.sampler_ids[0])).base_model == MODEL


@case("C83")
def session_project() -> None:
    service = client()
    training = lora(service)
    project = f"project-{uuid.uuid4()}"
    rest = service.create_rest_client()
    done(rest.assign_session_project(training.model_id.split(":")[0], project))
    runs = done(rest.list_training_runs(project_id=project)).training_runs
    assert [run.training_run_id for run in runs] == [training.model_id], runs


def tinker_cli(*arguments: str) -> dict:
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tinker.cli", "--format", "json", *arguments], capture_output=True, text=True
    )
    assert ran.returncode == 0, f"tinker {' '.join(arguments)} ended with {ran.returncode}: {ran.stdout}{ran.stderr}"
    return jsonlib.loads(ran.stdout[ran.stdout.index("{") :])


@case("C85")
def command_line() -> None:
    service = client()
    training, (path, other) = saved(service, "a", "b")
    run = training.model_id
    assert tinker_cli("run", "list", "--limit", "1")["runs"][0]["training_run_id"] == run
    assert run in jsonlib.dumps(tinker_cli("run", "info", run))
    assert "weights/a" in jsonlib.dumps(tinker_cli("checkpoint", "list", "--run-id", run))
    assert path in jsonlib.dumps(tinker_cli("checkpoint", "info", path))
    with tempfile.TemporaryDirectory() as folder:
        tinker_cli("checkpoint", "download", path, "--output", folder)
        names = {file.name for file in Path(folder).rglob("*") if file.is_file()}
    assert {"adapter_config.json", "adapter_model.safetensors"} <= names, names
    tinker_cli("checkpoint", "delete", "--yes", other)
    assert other not in jsonlib.dumps(tinker_cli("checkpoint", "list", "--run-id", run))


@case("C64")
def pickled_sampler() -> None:
    sampler = base_sampler()
    copies = [pickle.loads(pickle.dumps(sampler)) for _ in range(2)]
    prompts = [some_tokens(3 + i, 640 + i) for i in range(4)]
    alone = [list(sample(sampler, prompt).sequences[0].tokens) for prompt in prompts]
    for copy in copies:
        assert [list(sample(copy, prompt).sequences[0].tokens) for prompt in prompts] == alone


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
            try:
                await asyncio.wait_for(sampler.sample_async(text(PROMPT), 64, params), 0.2)
            except asyncio.TimeoutError:
                return
            raise AssertionError("64 sequences were there within 0.2 s; nothing was left to cancel")

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
    admin = rest if version() < (0, 26) else tinker.AdminClient()
    entries = done(admin.get_audit_log(event_type="checkpoints")).entries
    assert any(entry.event == "checkpoint_publish" and entry.tinker_path == path for entry in entries), entries
    now = datetime.now(timezone.utc)
    usage = done(admin.get_billing_usage(now - timedelta(hours=2), now + timedelta(hours=1)))
    session = training.model_id.split(":")[0]
    tokens = [row.event_info.token_count for row in usage.data if row.session_id == session]
    assert tokens == [8], usage
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
        assert who.org_urn and who.email, who
