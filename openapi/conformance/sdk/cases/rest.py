"""Looking around: training runs and checkpoints over the REST client, and over the SDK's own command line."""

from __future__ import annotations

import io
import json
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from datetime import UTC, datetime, timedelta

import numpy as np
from basics import *  # noqa: F403
from safetensors.numpy import load


def rest(service):
    return service.create_rest_client()


def owner(**options):
    """A tenant's clients and one of its models, trained a little."""
    service = client()
    training = lora(service, **options)
    step(training, [weighted(some_tokens(6))])
    return service, training


@case("C44-listed")
def saved_state_is_listed() -> None:
    service, training = owner()
    more = {"user_metadata": {"note": "first"}} if version() >= (0, 28) else {}
    path = done(training.save_state("a", **more)).path
    sampler_path = done(training.save_weights_for_sampler("s")).path
    done(training.save_weights_and_get_sampling_client())
    listed = done(rest(service).list_checkpoints(training.model_id)).checkpoints
    assert sorted(c.tinker_path for c in listed) == sorted([path, sampler_path]), listed
    (saved,) = [c for c in listed if c.checkpoint_type == "training"]
    assert saved.checkpoint_id == "weights/a", saved
    if version() >= (0, 7):
        assert saved.size_bytes > 1000 and not saved.public, saved
    assert abs(datetime.now(UTC) - saved.time) < timedelta(minutes=5), saved.time
    if more:
        assert saved.user_metadata == {"note": "first"}, saved


@case("C46")
def time_to_live() -> None:
    service, training = owner()
    path = done(training.save_state("a", ttl_seconds=7200)).path
    (saved,) = done(rest(service).list_checkpoints(training.model_id)).checkpoints
    left = saved.expires_at - datetime.now(UTC)
    assert timedelta(minutes=110) < left <= timedelta(hours=2), saved
    assert saved.tinker_path == path
    refused(lambda: done(training.save_state("b", ttl_seconds=1)), "ttl_seconds", "1")


@case("C74")
def training_runs_in_pages() -> None:
    service, first = owner()
    second = lora(service)
    page = done(rest(service).list_training_runs(limit=1))
    assert [run.training_run_id for run in page.training_runs] == [second.model_id], page
    assert page.cursor.total_count >= 2, page.cursor
    next_page = done(rest(service).list_training_runs(limit=1, offset=1))
    assert [run.training_run_id for run in next_page.training_runs] == [first.model_id], next_page
    beyond = done(rest(service).list_training_runs(limit=5, offset=10**6))
    assert beyond.training_runs == [] and beyond.cursor.total_count == page.cursor.total_count, beyond


@case("C75")
def training_run_of_a_path() -> None:
    service, training = owner(rank=4, user_metadata={"renderer": "plain"})
    path = done(training.save_state("a")).path
    run = done(rest(service).get_training_run_by_tinker_path(path))
    assert run.training_run_id == training.model_id and run.base_model == MODEL, run
    assert run.is_lora and run.lora_rank == 4 and not run.corrupted, run
    assert run.last_checkpoint.tinker_path == path and run.last_sampler_checkpoint is None, run
    assert run.user_metadata == {"renderer": "plain"}, run
    if version() >= (0, 6):
        weights = done(rest(service).get_weights_info_by_tinker_path(path))
        assert weights.base_model == MODEL and weights.is_lora and weights.lora_rank == 4, weights
    refused(lambda: done(rest(service).get_training_run("no-such:train:0")), "no-such:train:0")


@case("C76")
def checkpoints_of_a_user() -> None:
    service, training = owner()
    paths = [done(training.save_state(name)).path for name in ("a", "b", "c")]
    newest = done(rest(service).list_user_checkpoints(limit=3))
    assert [c.tinker_path for c in newest.checkpoints] == paths[::-1], newest
    older = done(rest(service).list_user_checkpoints(limit=1, offset=1))
    assert [c.tinker_path for c in older.checkpoints] == [paths[1]], older
    assert older.cursor.total_count == newest.cursor.total_count >= 3


@case("C77")
def publishing() -> None:
    service, training = owner()
    path = done(training.save_state("a")).path
    expected = logprobs_of(training, [weighted(some_tokens(6))])[0]
    stranger = client(OTHER_KEY)
    refused(lambda: done(stranger.create_training_client_from_state(path)), path)
    for _ in range(2):  # the second changes nothing, and a 409 would be retried for minutes
        done(rest(service).publish_checkpoint_from_tinker_path(path))
    foreign = done(stranger.create_training_client_from_state(path))
    near(logprobs_of(foreign, [weighted(some_tokens(6))])[0], expected, 1e-5)
    refused(lambda: done(rest(stranger).delete_checkpoint_from_tinker_path(path)))
    for _ in range(2):
        done(rest(service).unpublish_checkpoint_from_tinker_path(path))
    refused(lambda: done(stranger.create_training_client_from_state(path)), path)


@case("C53")
def weights_access_token() -> None:
    service, training = owner()
    path = done(training.save_state("a")).path
    other = done(training.save_state("b")).path
    expected = logprobs_of(training, [weighted(some_tokens(6))])[0]
    status, made = post(f"training_runs/{training.model_id}/checkpoints/weights/a/access_token", {"ttl_seconds": 3600})
    assert status == 200, made
    stranger = client(OTHER_KEY)
    for resume in (stranger.create_training_client_from_state, stranger.create_training_client_from_state_with_optimizer):
        opened = done(resume(path, weights_access_token=made["token"]))
        near(logprobs_of(opened, [weighted(some_tokens(6))])[0], expected, 1e-5)
        refused(lambda resume=resume: done(resume(other, weights_access_token=made["token"])), "b")
    opened = done(stranger.create_training_client_from_state(path, weights_access_token=KEY))
    near(logprobs_of(opened, [weighted(some_tokens(6))])[0], expected, 1e-5)
    if version() >= (0, 34):
        copy = done(rest(stranger).copy_weights(path, "shared", weights_access_token=made["token"]))
        near(logprobs_of(done(stranger.create_training_client_from_state(copy)), [weighted(some_tokens(6))])[0], expected)


@case("C78")
def setting_and_removing_the_time_to_live() -> None:
    service, training = owner()
    path = done(training.save_state("a")).path

    def expiry():
        return done(rest(service).list_checkpoints(training.model_id)).checkpoints[0].expires_at

    assert expiry() is None
    done(rest(service).set_checkpoint_ttl_from_tinker_path(path, 86400))
    assert expiry() is not None
    done(rest(service).set_checkpoint_ttl_from_tinker_path(path, None))
    assert expiry() is None


@case("C79")
def deleting() -> None:
    service, training = owner()
    path = done(training.save_state("a")).path
    kept = done(training.save_state("b")).path
    done(rest(service).delete_checkpoint_from_tinker_path(path))
    refused(lambda: done(service.create_training_client_from_state(path)), path)
    assert [c.tinker_path for c in done(rest(service).list_checkpoints(training.model_id)).checkpoints] == [kept]
    done(service.create_training_client_from_state(kept))
    assert done(training.save_state("a")).path == path, "the name of a deleted checkpoint is free again"


@case("C85-cli", waits=True)
def command_line() -> None:
    """`tinker run|checkpoint|model ...`: exit code 0, and JSON that says what the REST client says."""
    _service, training = owner()
    path = done(training.save_state("a")).path

    def tinker_cli(*words: str) -> dict:
        command = [sys.executable, "-W", "ignore", "-m", "tinker.cli", "--format", "json", *words]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=2 * WAIT, env=OWN_ENVIRONMENT)
        assert ended.returncode == 0, f"tinker {' '.join(words)}: exit {ended.returncode}: {ended.stderr[-800:]}"
        return json.loads(ended.stdout) if ended.stdout.strip().startswith(("{", "[")) else {}

    assert training.model_id in json.dumps(tinker_cli("run", "list"))
    assert path in json.dumps(tinker_cli("checkpoint", "info", path))
    tinker_cli("checkpoint", "publish", path)
    tinker_cli("checkpoint", "set-ttl", path, "--ttl", "7200")
    if version() < (0, 24):  # their own `delete` calls the command `list` where it means the type
        return
    tinker_cli("checkpoint", "delete", path, "-y")
    assert path not in json.dumps(tinker_cli("checkpoint", "list", "--run-id", training.model_id))


def fetched(url: str) -> bytes:
    """As the SDK's own tools fetch: plainly, without a key."""
    with urllib.request.urlopen(url, timeout=WAIT) as answer:
        return answer.read()


def is_adapter(config: bytes, weights: bytes, training) -> None:
    assert json.loads(config)["peft_type"] == "LORA" and json.loads(config)["r"] == training.get_info().lora_rank
    tensors = load(weights)
    assert tensors and all(name.startswith("base_model.model.") for name in tensors), list(tensors)[:3]
    assert any(np.any(x != 0) for name, x in tensors.items() if "lora_B" in name), (
        "the weights are not the trained ones"
    )


@case("C80")
def external_weights() -> None:
    service, training = owner(rank=4)
    path = done(training.save_weights_external("out")).path
    assert path == f"tinker://{training.model_id}/external_weights/out", path
    listed = done(rest(service).get_external_weights_urls(path))
    files = {name: fetched(url) for name, url in listed.urls.items()}
    assert {"adapter_config.json", "adapter_model.safetensors"} <= files.keys(), files.keys()
    is_adapter(files["adapter_config.json"], files["adapter_model.safetensors"], training)
    refused(lambda: done(rest(client(OTHER_KEY)).get_external_weights_urls(path)))


@case("C80-download", waits=True)
def command_line_download() -> None:
    """`tinker checkpoint download`: a session, a load, an external save, signed addresses, and the copy removed."""
    service, training = owner(rank=4)
    path = done(training.save_state("a")).path
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-W", "ignore", "-m", "tinker.cli", "-f", "json", "checkpoint", "download", path]
        ended = subprocess.run(
            [*command, "-o", folder], capture_output=True, text=True, timeout=2 * WAIT, env=OWN_ENVIRONMENT
        )
        assert ended.returncode == 0, ended.stderr[-800:]
        (config,) = pathlib.Path(folder).rglob("adapter_config.json")
        is_adapter(config.read_bytes(), config.with_name("adapter_model.safetensors").read_bytes(), training)


@case("C81")
def archive() -> None:
    """Before external weights, a checkpoint was one tar behind a signed address."""
    service, training = owner(rank=4)
    path = done(training.save_weights_for_sampler("s")).path
    signed = done(rest(service).get_checkpoint_archive_url_from_tinker_path(path))
    with tarfile.open(fileobj=io.BytesIO(fetched(signed.url))) as tar:
        files = {member.name.removeprefix("./"): member for member in tar if member.isfile()}
        assert {"adapter_config.json", "adapter_model.safetensors", "checkpoint_complete"} <= files.keys(), files
        read = {name: tar.extractfile(member).read() for name, member in files.items()}
    is_adapter(read["adapter_config.json"], read["adapter_model.safetensors"], training)


@case("C82")
def sessions_and_samplers() -> None:
    with watched() as (wire, service):
        training = lora(service)
        base_sampler(service)
        session = training.model_id.partition(":")[0]
        sampler = json.loads(wire.of("create_sampling_session")[0].answer)["sampling_session_id"]
        found = done(rest(service).get_session(session))
        assert found.training_run_ids == [training.model_id] and found.sampler_ids == [sampler], found
        assert session in done(rest(service).list_sessions(limit=20)).sessions
        assert len(done(rest(service).list_sessions(limit=1)).sessions) == 1
        described = done(rest(service).get_sampler(sampler))
        assert described.sampler_id == sampler and described.base_model == MODEL, described
        refused(lambda: done(rest(client(OTHER_KEY)).get_session(session)))


@case("C83-project")
def project_of_a_session() -> None:
    service, training = owner()
    session = training.model_id.partition(":")[0]
    done(rest(service).assign_session_project(session, f"project of {session}"))
    runs = done(rest(service).list_training_runs(project_id=f"project of {session}")).training_runs
    assert [run.training_run_id for run in runs] == [training.model_id], runs
