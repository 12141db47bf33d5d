"""Every verb of the SDK's own command line, as a table and as JSON.

`VERBS` says which case runs a verb; one case walks the command tree of the installed SDK and fails where the table has a hole.
"""

from __future__ import annotations

import csv
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import uuid
from datetime import UTC, datetime, timedelta

from basics import *  # noqa: F403
from hub_stub import TOKEN, USER, HubStub
from prefork import Commands

from .rest import is_adapter, owner

VERBS = {
    "version": "C85-version",
    "model list": "C85-version",
    "run list": "C85-run",
    "run info": "C85-run",
    "checkpoint list": "C85-checkpoint",
    "checkpoint info": "C85-checkpoint",
    "checkpoint publish": "C85-checkpoint",
    "checkpoint unpublish": "C85-checkpoint",
    "checkpoint set-ttl": "C85-checkpoint",
    "checkpoint delete": "C85-delete",
    "checkpoint download": "C85-download",
    "checkpoint push-hf": "C85-push-hf",
    "session export-trace": "C85-session",
    "billing usage": "C85-billing",
    "billing checkpoint-storage": "C85-billing",
    "auth status": "C85-auth",
    "auth login": "C85-auth",
    "auth logout": "C85-auth",
    "auth whoami": "C85-whoami",
}


COMMANDS = Commands()


def command(
    *words: str,
    format: str = "json",
    fails: bool = False,
    said: str = "",
    afresh: bool = False,
    **environment: str | None,
) -> str:
    """What `tinker WORDS` prints. Its exit code must be 0, or 1 with a sentence on stderr.

    `afresh` is for what reads its environment when it is imported. None takes a variable out of the environment.
    """
    line = ["--format", format, *words]
    env = {name: value for name, value in {**os.environ, **environment}.items() if value is not None}
    if afresh:
        python = [sys.executable, "-W", "ignore", "-m", "tinker.cli"]
        ended = subprocess.run([*python, *line], capture_output=True, text=True, timeout=2 * WAIT, env=env)
    else:
        ended = COMMANDS.run(line, env, said)
    words_of_it = f"tinker {' '.join(words)}: exit {ended.returncode}\n{ended.stdout[-800:]}\n{ended.stderr[-800:]}"
    assert ended.returncode == (1 if fails else 0), words_of_it
    assert "Traceback" not in ended.stderr, words_of_it
    if fails:
        assert "Error:" in ended.stderr, words_of_it
        return ended.stderr
    return ended.stdout


def both(*words: str) -> tuple[dict, str]:
    """The JSON and the table of one command."""
    return json.loads(command(*words)), command(*words, format="table")


@case("C85-verbs")
def every_verb_has_a_case() -> None:
    import click
    from tinker.cli.__main__ import main_cli

    def verbs(group: click.Command, path: tuple[str, ...] = ()) -> list[str]:
        if not isinstance(group, click.Group):
            return [" ".join(path)]
        context = click.Context(group)
        names = group.list_commands(context)
        return [verb for name in names for verb in verbs(group.get_command(context, name), (*path, name))]

    assert sorted(verbs(main_cli)) == sorted(VERBS), sorted(set(verbs(main_cli)) ^ set(VERBS))
    assert set(VERBS.values()) <= set(CASES), sorted(set(VERBS.values()) - set(CASES))


@case("C85-version")
def version_and_models() -> None:
    assert tinker.__version__ in command("version")
    listed, table = both("model", "list")
    assert MODEL in json.dumps(listed["models"]) and MODEL in table
    found, _ = both("model", "list", MODEL.rpartition("/")[2][:3])
    assert MODEL in json.dumps(found["models"])


@case("C85-run")
def runs() -> None:
    _service, training = owner(rank=4)
    listed, table = both("run", "list", "--limit", "0")
    # A table cuts long ids short to fit the terminal.
    assert training.model_id in [run["training_run_id"] for run in listed["runs"]] and training.model_id[:12] in table
    chosen, _ = both("run", "list", "--limit", "1", "--columns", "id,model")
    assert len(chosen["runs"]) == 1
    info, table = both("run", "info", training.model_id)
    assert info["base_model"] == MODEL and info["lora_rank"] == 4 and MODEL in table, info
    command("run", "info", "no-such:train:0", fails=True)


@case("C85-checkpoint")
def checkpoints_and_what_may_be_done_with_them() -> None:
    service, training = owner(rank=4)
    path = done(training.save_state("a")).path
    sampler_path = done(training.save_weights_for_sampler("s")).path

    def one() -> dict:
        listed = json.loads(command("checkpoint", "list", "--run-id", training.model_id))["checkpoints"]
        return next(each for each in listed if each["tinker_path"] == path)

    listed, table = both("checkpoint", "list", "--run-id", training.model_id)
    assert {each["tinker_path"] for each in listed["checkpoints"]} == {path, sampler_path}, listed
    assert "weights/a" in table or path[:12] in table, table
    everything, _ = both("checkpoint", "list", "--limit", "0")
    assert {path, sampler_path} <= {each["tinker_path"] for each in everything["checkpoints"]}
    info, table = both("checkpoint", "info", path)
    assert info["tinker_path"] == path and info["lora_rank"] == 4 and not info["public"], info
    assert "weights/a" in table, table
    for format in ("table", "json"):
        command("checkpoint", "publish", path, format=format)
        assert one()["public"]
        command("checkpoint", "unpublish", path, format=format)
        assert not one()["public"]
        command("checkpoint", "set-ttl", path, "--ttl", "7200", format=format)
        assert one()["expires_at"]
        command("checkpoint", "set-ttl", path, "--remove", format=format)
        assert not one()["expires_at"]
    command("checkpoint", "set-ttl", path, "--ttl", "1", fails=True)
    command("checkpoint", "info", f"tinker://{training.model_id}/weights/none", fails=True)
    del service


@case("C85-delete")
def deleting_one_and_many() -> None:
    _service, training = owner(rank=4)
    paths = [done(training.save_state(name)).path for name in ("a", "b", "c", "d")]
    sampler_path = done(training.save_weights_for_sampler("s")).path

    def left() -> set[str]:
        listed = json.loads(command("checkpoint", "list", "--run-id", training.model_id))["checkpoints"]
        return {each["tinker_path"] for each in listed}

    assert json.loads(command("checkpoint", "delete", paths[0], "-y"))["deleted_count"] == 1
    command("checkpoint", "delete", paths[1], "-y", format="table")
    assert left() == {*paths[2:], sampler_path}
    of_run = ("checkpoint", "delete", "--run-id", training.model_id, "--type", "weights", "-y")
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%d")
    command(*of_run, "--after", tomorrow)
    assert left() == {*paths[2:], sampler_path}
    gone = json.loads(command(*of_run, "--before", tomorrow))
    assert gone["deleted_count"] == 2 and not gone.get("failed"), gone
    assert left() == {sampler_path}


@case("C85-download")
def downloads() -> None:
    _service, training = owner(rank=4)
    path = done(training.save_state("a")).path
    external = done(training.save_weights_external("out")).path
    sampler_path = done(training.save_weights_for_sampler("s")).path
    for source, format in ((path, "table"), (path, "json"), (external, "table"), (external, "json")):
        with tempfile.TemporaryDirectory() as folder:
            command("checkpoint", "download", source, "-o", folder, format=format)
            (config,) = pathlib.Path(folder).rglob("adapter_config.json")
            is_adapter(config.read_bytes(), config.with_name("adapter_model.safetensors").read_bytes(), training)
            command("checkpoint", "download", source, "-o", folder, fails=True)
            command("checkpoint", "download", source, "-o", folder, "--force")
    with tempfile.TemporaryDirectory() as folder:
        command("checkpoint", "download", sampler_path, "-o", folder, fails=True)
    kept = {each.tinker_path for each in done(tinker.RestClient().list_user_checkpoints(limit=1000)).checkpoints}
    assert {path, external, sampler_path} <= kept and not [each for each in kept if each.endswith("/download")], kept


@case("C85-push-hf", waits=True)
def pushing_to_a_hub() -> None:
    _service, training = owner(rank=4)
    path = done(training.save_state("a")).path
    with HubStub() as hub, tempfile.TemporaryDirectory() as home:
        place = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HOME": home, "afresh": True}
        pushed = json.loads(command("checkpoint", "push-hf", path, "-r", f"{USER}/mine", **place))
        assert pushed["repo_id"] == f"{USER}/mine" and not pushed["public"], pushed
        repository = hub.repositories[f"{USER}/mine"]
        files = repository.files
        assert repository.private, repository
        assert {"adapter_config.json", "adapter_model.safetensors", "README.md"} <= set(files), list(files)
        is_adapter(files["adapter_config.json"], files["adapter_model.safetensors"], training)
        assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == MODEL
        assert path in files["README.md"].decode() and "LoRA rank: 4" in files["README.md"].decode()
        words = ("--public", "--no-model-card", "--commit-message", "mine now")
        command("checkpoint", "push-hf", path, "-r", f"{USER}/open", *words, format="table", **place)
        other = hub.repositories[f"{USER}/open"]
        assert not other.private and other.messages == ["mine now"] and "README.md" not in other.files
        command("checkpoint", "push-hf", path, "-r", "a/b", fails=True, **{**place, "HF_TOKEN": "hf_wrong"})


@case("C85-session")
def trace_of_a_session() -> None:
    """C83: the trace is made, signed, fetched without a key, and holds what the session did."""
    _service, training = owner(rank=4)
    session = training.model_id.partition(":")[0]
    with tempfile.TemporaryDirectory() as folder:
        for format in ("json", "table"):
            file = pathlib.Path(folder) / f"{format}.pftrace"
            command("session", "export-trace", session, "-o", str(file), format=format)
            events = json.loads(file.read_text())["traceEvents"]
            names = {event["name"] for event in events}
            assert {"create_model", "forward_backward", "optim_step"} <= names, names
    assert json.loads(command("session", "export-trace", session, "--url-only"))["url"].startswith(SERVER)
    assert command("session", "export-trace", session, "--url-only", format="table").strip().startswith(SERVER)
    command("session", "export-trace", str(uuid.uuid4()), fails=True)


@case("C85-billing")
def billing() -> None:
    _service, training = owner(rank=4)
    done(training.save_state("a"))
    session = training.model_id.partition(":")[0]
    now = datetime.now(UTC)
    span = [(now + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ") for hours in (-2, 1)]
    usage, table = both("billing", "usage", *span)
    kinds = {row["event_info"]["type"] for row in usage["data"] if row["session_id"] == session}
    assert {"training", "checkpoint"} <= kinds and session in usage["sessions"], usage
    assert table.strip()
    storage, table = both("billing", "checkpoint-storage")
    assert sum(row["checkpoint_count"] for row in storage["data"]) >= 1 and table.strip(), storage
    with tempfile.TemporaryDirectory() as folder:
        rows, sessions, stored = (pathlib.Path(folder) / name for name in ("rows.csv", "sessions.csv", "stored.csv"))
        command("billing", "usage", *span, "--csv", str(rows), "--sessions-csv", str(sessions))
        command("billing", "checkpoint-storage", "--csv", str(stored))
        for file in (rows, sessions, stored):
            assert len(list(csv.reader(file.open()))) >= 2, file.read_text()


@case("C85-auth")
def logging_in_and_out() -> None:
    with tempfile.TemporaryDirectory() as home:
        here = {"HOME": home, "TINKER_API_KEY": None}
        command("auth", "status", fails=True, **here)
        command("auth", "login", said="tml-nobody\n", fails=True, **here)
        said = command("auth", "login", said=f"{KEY}\n", **here)
        assert "Logged in as" in said, said
        assert "accessible: yes" in command("auth", "status", **here)
        assert MODEL in command("model", "list", **here)
        command("auth", "login", said=f"{KEY}\n", fails=True, **here)
        assert "Removed credential" in command("auth", "logout", **here)
        command("auth", "status", fails=True, **here)
    assert "accessible: yes" in command("auth", "status", format="table")


@case("C85-whoami")
def whoami_by_command() -> None:
    """The SDK asks only where keys are exchanged for tokens: a switch that is set on the way."""
    with watched(**config(pjwt_auth_enabled=True)) as (wire, _service):
        place = {"TINKER_BASE_URL": wire.url}
        who = json.loads(command("auth", "whoami", **place))
        assert who["user_urn"] and who["org_urn"] and who["email"], who
        assert who["email"] in command("auth", "whoami", format="table", **place)
    command("auth", "whoami", fails=True)
