"""Configuration, sessions, keys, model creation and telemetry: what happens before the first number is computed."""

from __future__ import annotations

import json
import logging
import os
import threading

import tinker
from basics import *  # noqa: F403
from wire import Wire, json_answer


@case("C01")
def client_alone_sends_nothing() -> None:
    with watched() as (wire, _service):
        assert not wire.wait_for("client/config", 1, 0.5), wire.names
        assert wire.names == []


@case("C02")
def server_capabilities() -> None:
    with watched() as (wire, service):
        models = service.get_server_capabilities().supported_models
        assert MODEL in [model.model_name for model in models], models
        assert version() < (0, 20) or all(model.max_context_length == CONTEXT for model in models), models
        if version() >= (0, 25):
            assert {"client/config", "client/dynamic_config"} <= set(wire.names), wire.names
        if version() >= (0, 24):  # older clients open their session when they are made
            assert "create_session" not in wire.names, wire.names


@case("C03")
def base_url_with_prefix() -> None:
    with watched(prefix="/behind/a/proxy") as (wire, service):
        lora(service)
        assert wire.exchanges and all(e.path.startswith("/behind/a/proxy/api/v1/") for e in wire.exchanges)


@case("C04")
def foreign_key_is_refused_locally() -> None:
    with Wire(SERVER) as wire:
        try:
            client("sk-1", base_url=wire.url).create_lora_training_client(MODEL)
        except tinker.TinkerError as error:
            assert "tml-" in str(error), error
        else:
            raise AssertionError("sk-1 was accepted")
        assert wire.names == []


@case("C05")
def unknown_key() -> None:
    with Wire(SERVER) as wire:
        try:
            lora(client("tml-nobody", base_url=wire.url))
        except tinker.AuthenticationError as error:
            assert "key" in str(error).lower()
        else:
            raise AssertionError("an unknown key was accepted")
        assert [e.status for e in wire.exchanges] == [401], [(e.name, e.status) for e in wire.exchanges]
    lora()


@case("C06")
def session_of_a_sampling_client() -> None:
    with watched() as (wire, service):
        sampler = base_sampler(service)
        (created,) = wire.of("create_session")
        assert {"tags", "user_metadata", "sdk_version"} <= created.json.keys(), created.json
        assert created.json["sdk_version"] == tinker.__version__
        assert not [name for name in wire.names if name.startswith("samplers/")], wire.names
        assert len(sample(sampler, [20, 21], max_tokens=2).sequences[0].tokens) > 0


@case("C07")
def session_carries_its_owner_s_words() -> None:
    os.environ["TINKER_TAGS"], os.environ["TINKER_PROJECT_ID"] = "one,two", "project-1"
    try:
        with Wire(SERVER) as wire:
            words = {"display_name": "a run"} if version() >= (0, 34) else {}
            if version() < (0, 24):  # the variable came later than the argument
                words = {"project_id": "project-1"}
            service = client(base_url=wire.url, user_metadata={"who": "me"}, **words)
            lora(service, user_metadata={"renderer": "plain"})
            session, model = wire.of("create_session")[0], wire.of("create_model")[0]
            assert sorted(session.json["tags"]) == ["one", "two"]
            assert session.json["project_id"] == "project-1"
            assert session.json["user_metadata"] == {"who": "me"}
            assert session.json.get("display_name") == words.get("display_name")
            assert model.json["user_metadata"] == {"renderer": "plain"}
    finally:
        del os.environ["TINKER_TAGS"], os.environ["TINKER_PROJECT_ID"]


@case("C08")
def server_messages_reach_the_log() -> None:
    heard: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(f"{record.levelname} {record.getMessage()}")
    logging.getLogger("tinker").addHandler(handler)
    try:
        with watched(alter={"create_session": lambda a: a | {"warning_message": "mind the gap"}}) as (_, service):
            base_sampler(service)
        assert any("mind the gap" in line and line.startswith("WARNING") for line in heard), heard
    finally:
        logging.getLogger("tinker").removeHandler(handler)


@case("C09")
def dynamic_config_may_be_absent() -> None:
    with watched(replace={"client/dynamic_config": lambda _: json_answer({"detail": "no"}, 404)}) as (wire, service):
        lora(service)
        assert [e.status for e in wire.of("client/dynamic_config")] == [404]


@case("C12", waits=True)
def heartbeats() -> None:
    with watched() as (wire, service):
        training = lora(service)
        assert wire.wait_for("session_heartbeat", 2, 40), wire.names
        assert {e.status for e in wire.of("session_heartbeat")} == {200}
        assert loss_of(forward_backward(training, [weighted(some_tokens(6))])) > 0


@case("C14")
def create_lora() -> None:
    with watched() as (wire, service):
        first, second = lora(service, rank=8), lora(service, rank=4)
        session = wire.of("create_session")[0]
        session_id = json.loads(session.answer)["session_id"]
        assert first.model_id == f"{session_id}:train:0", first.model_id
        assert second.model_id == f"{session_id}:train:1", second.model_id
        if version() >= (0, 38):
            assert [e.status for e in wire.of("get_info")] == [200, 200]


@case("C17")
def get_info() -> None:
    training = lora(rank=4)
    info = training.get_info()
    assert info.model_data.model_name == MODEL, info
    assert info.model_data.tokenizer_id, info
    assert info.lora_rank == 4 and info.is_lora, info
    assert info.model_id == training.model_id
    if version() >= (0, 29):
        assert info.optimizer_config.type == "adamw", info


@case("C18")
def tokenizer_from_the_server() -> None:
    """HF_ENDPOINT is the server: the tokenizer comes over its hub routes."""
    tokenizer = lora().get_tokenizer()
    ids = tokenizer.encode("What is 2 + 2?", add_special_tokens=False)
    assert ids and max(ids) < VOCABULARY and tokenizer.decode(ids) == "What is 2 + 2?", ids
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    assert "Hi" in chat and len(chat) > 2, chat
    if version() >= (0, 8):
        assert base_sampler().get_tokenizer().encode("abc") == tokenizer.encode("abc")


@case("C86")
def telemetry_may_fail() -> None:
    with watched(replace={"telemetry": lambda _: json_answer({"detail": "down"}, 500)}) as (wire, service):
        training = lora(service)
        assert loss_of(forward_backward(training, [weighted(some_tokens(6))])) > 0


@case("C87")
def session_survives_a_user_s_error() -> None:
    service = client()
    training = lora(service)
    refused(lambda: forward_backward(training, [datum(some_tokens(6), weights=[1, 1])]), "weights")
    assert loss_of(forward_backward(training, [weighted(some_tokens(6))])) > 0
    lora(service)


@case("C90")
def two_tenants_do_not_notice_each_other() -> None:
    data = {"a": [weighted(some_tokens(12, 1))], "b": [weighted(some_tokens(9, 2)), weighted(some_tokens(20, 3))]}

    services = {"a": client(), "b": client(OTHER_KEY)}

    def train(name: str) -> list[float]:
        training = lora(services[name], seed=7)
        losses = [loss_of(step(training, data[name], adam(1e-2))) for _ in range(4)]
        return losses + [float(x) for x in logprobs_of(training, data[name])[0]]

    alone = {name: train(name) for name in data}
    together: dict[str, list[float]] = {}
    threads = [threading.Thread(target=lambda n=name: together.__setitem__(n, train(n))) for name in data]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in data:
        near(together[name], alone[name], 1e-4)


@case("C91")
def close_and_with() -> None:
    def reason(wire: Wire) -> str:
        (finish,) = [e for e in wire.exchanges if e.name.endswith("/finish")]
        assert 200 <= finish.status < 300, finish.answer
        return finish.json["reason"]["type"]

    with watched() as (wire, service):
        training = lora(service)
        done(service.close("success"))
        assert reason(wire) == "success"
        more = {"model_id": training.model_id, "seq_id": 1, "adam_params": {}, "type": "optim_step"}
        status, answer = post("optim_step", more)
        assert status == 410 and "over" in answer["detail"], (status, answer)
        session = training.model_id.partition(":")[0]
        post(f"sessions/{session}/finish", {"reason": {"type": "errored"}})
        _, found = post("sessions/search", {"session_id": session})
        assert found["sessions"][0]["status"]["reason"]["type"] == "success", found
    with watched() as (wire, service):
        with service:
            lora(service)
        assert reason(wire) == "success"
    with watched() as (wire, service):
        try:
            with service:
                lora(service)
                raise KeyError("mine")
        except KeyError:
            pass
        assert reason(wire) == "errored"


@case("C92", waits=True)
def heartbeats_end_with_410() -> None:
    with watched(replace={"session_heartbeat": lambda _: json_answer({"detail": "over"}, 410)}) as (wire, service):
        base_sampler(service)
        assert wire.wait_for("session_heartbeat", 1, 30), wire.names
        assert not wire.wait_for("session_heartbeat", 2, 12), "the SDK went on after a 410"
