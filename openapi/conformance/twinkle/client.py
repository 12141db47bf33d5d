"""The unmodified twinkle_client of twinkle-kit goes through its remote surface against a real server.

    python client.py URL MODEL       prints one JSON object: what each part saw

It knows the client's API and no server: what the numbers have to be, the test beside it says.
"""

import json
import math
import sys

from twinkle_client import init_twinkle_client
from twinkle_client.http import get_base_url, http_post
from twinkle_client.model import MultiLoraTransformersModel

try:
    from twinkle_client.sampler import vLLMSampler
except ModuleNotFoundError:  # Before 0.4.0 it imports the server's sampler, and so PyTorch.
    vLLMSampler = None

URL, MODEL = sys.argv[1:3]
LORA = {"r": 8, "lora_alpha": 32, "target_modules": "all-linear", "_TWINKLE_TYPE_": "LoraConfig"}
TEXT = [[5, 9, 17, 23, 42, 61, 5, 9, 17, 23], [7, 3, 7, 3, 7, 3, 7, 3]]
ROWS = [{"input_ids": ids, "labels": ids[1:] + [-100], "attention_mask": [1] * len(ids)} for ids in TEXT]
seen = {}


def new_model(name, accumulation=1, **kwargs):
    model = MultiLoraTransformersModel(model_id=f"ms://{MODEL}")
    # The client forwards text unchanged: this is what it makes of a peft LoraConfig.
    model.add_adapter_to_model(name, json.dumps(LORA), gradient_accumulation_steps=accumulation, **kwargs)
    model.set_processor("InputProcessor", padding_side="right")
    model.set_loss("CrossEntropyLoss")
    model.set_optimizer("AdamW", lr=0.01)
    return model


def management(client):
    capabilities = client.get_server_capabilities()
    return {
        "healthy": client.health_check(),
        "models": [m.model_name for m in capabilities.supported_models],
        # Since 0.4.0.
        "free": client.get_capacity_info().free_loras if hasattr(client, "get_capacity_info") else None,
    }


def training(model):
    model.set_lr_scheduler("LinearLR", start_factor=1.0, end_factor=0.5, total_iters=10)
    losses, norms = [], []
    for _ in range(8):
        losses.append(model.forward_backward(inputs=ROWS).result["loss"])
        norms.append(model.clip_grad_norm(1.0).result)
        model.step()
        model.zero_grad()
        model.lr_step()
    for _ in range(4):
        losses.append(model.forward_backward(inputs=ROWS).result["loss"])
        if hasattr(model, "clip_grad_and_step"):
            model.clip_grad_and_step()
    return {"losses": losses, "norms": norms, "configs": model.get_train_configs().result,
            "metrics": model.calculate_metric(is_training=True).result}


def split(model):
    output = model.forward(inputs=ROWS).result
    loss = model.calculate_loss().result
    model.backward()
    model.zero_grad()
    reference = model.forward_only(inputs=ROWS, disable_lora=True).result
    return {"loss": loss, "forward": output["loss"], "logps": output["logps"], "reference": reference["logps"]}


def checkpoints(client, model):
    saved = model.save("step-12", save_optimizer=True, consumed_train_samples=24)
    path = saved.twinkle_path if hasattr(saved, "twinkle_path") else saved
    run = client.list_training_runs()[0]
    listed = client.list_checkpoints(run.training_run_id)
    info = client.get_weights_info(path)
    before = model.forward_only(inputs=ROWS).result["logps"]
    model.load(path, load_optimizer=True)
    other = new_model("second", accumulation=2)
    progress = other.resume_from_checkpoint(path)
    sampler = model.save("sampler", is_sampler=True)
    found = {
        "path": path,
        "run": run.training_run_id,
        "listed": [c.checkpoint_id for c in listed],
        "latest": client.get_latest_checkpoint_path(run.training_run_id),
        "rank": info.lora_rank,
        "progress": progress,
        "same": before == model.forward_only(inputs=ROWS).result["logps"],
        "resumed": before == other.forward_only(inputs=ROWS).result["logps"],
        "sampler": sampler.twinkle_path,
        "state": sorted(model.get_state_dict().result)[:1],
    }
    found["deleted"] = client.delete_checkpoint(run.training_run_id, "weights/step-12").success
    return found


def sampling(model, path):
    """A round of reinforcement learning: draw, then train on what came back as it is."""
    sampler = vLLMSampler(model_id=f"ms://{MODEL}")
    sampler.set_template("Template", model_id=f"ms://{MODEL}", max_length=256)
    chats = [{"messages": [{"role": "user", "content": "What is your name?"}]}] * 2
    params = {"max_tokens": 8, "temperature": 1.0, "num_samples": 2, "logprobs": 1, "seed": 7}
    samples = sampler.sample(chats, params, adapter_uri=path)
    sequences = [sequence for sample in samples for sequence in sample.sequences]
    rows = [sequence.new_input_feature for sequence in sequences]
    trained = model.forward_backward(inputs=rows).result
    model.zero_grad()
    greedy = sampler.sample(chats[:1], {"max_tokens": 16, "temperature": 0})[0].sequences[0]
    drawn = [[pairs[0] for pairs in sequence.logprobs] for sequence in sequences]
    return {
        "count": [len(sample.sequences) for sample in samples],
        "stops": sorted({sequence.stop_reason for sequence in sequences}),
        "chosen": all([token for token, _ in pairs] == s.tokens for pairs, s in zip(drawn, sequences)),
        # What was drawn, as sampling and as training see it.
        "drawn": [logprob for _, logprob in drawn[0]],
        "learned": [p for p, label in zip(trained["logps"][0], rows[0]["labels"]) if label != -100],
        "greedy": greedy.decoded,
    }


def remote_data():
    """Processor routes by the client's own transport: its classes for them need PyTorch."""
    url = f"{get_base_url()}/processor/twinkle"

    def call(processor_id, function, **kwargs):
        body = {"processor_id": processor_id, "function": function, **kwargs}
        return http_post(url=f"{url}/call", json_data=body).json()["result"]

    data = [{"query": f"Who are you, {i}?", "response": "I am {{NAME}}."} for i in range(5)]
    meta = json.dumps({"dataset_id": "", "data": data, "data_slice": None, "_TWINKLE_TYPE_": "DatasetMeta"})
    body = {"processor_type": "dataset", "class_type": "Dataset", "dataset_meta": meta}
    dataset = http_post(url=f"{url}/create", json_data=body).json()["processor_id"]
    call(dataset, "set_template", template_func="Template", model_id=f"ms://{MODEL}", max_length=256)
    call(dataset, "map", preprocess_func="SelfCognitionProcessor", dataset_meta=None, init_args={"model_name": "Ada"})
    call(dataset, "encode", add_generation_prompt=False, batched=True)
    body = {"processor_type": "dataloader", "class_type": "DataLoader", "dataset": dataset, "batch_size": 2}
    loader = http_post(url=f"{url}/create", json_data=body).json()["processor_id"]
    call(loader, "__iter__")
    batches = []
    try:
        while True:
            batches.append(call(loader, "__next__"))
    except StopIteration:
        pass
    return {"length": call(dataset, "__len__"), "batches": [len(batch) for batch in batches], "row": batches[0][0]}


def refusals(model):
    """What the caller of the client reads when something is refused."""
    found = {}
    attempts = {
        "loss": lambda: model.set_loss("NoSuchLoss"),
        "patch": lambda: model.apply_patch("SomePatch"),
        "load": lambda: model.load("missing"),
        "hub": lambda: model.upload_to_hub("twinkle://nobody/weights/a", "u/r"),
    }
    for name, attempt in attempts.items():
        try:
            attempt()
            found[name] = None
        except Exception as error:  # noqa: BLE001
            found[name] = f"{type(error).__name__}: {error}"
    return found


client = init_twinkle_client(base_url=URL, api_key="EMPTY_TOKEN")
seen["management"] = management(client)
model = new_model("default", save_dir="~/checkpoints")
seen["training"] = training(model)
seen["split"] = split(model)
seen["checkpoints"] = checkpoints(client, model)
seen["sampling"] = sampling(model, seen["checkpoints"]["sampler"]) if vLLMSampler else None
seen["data"] = remote_data()
seen["refusals"] = refusals(model)
client.close()
assert all(math.isfinite(loss) for loss in seen["training"]["losses"])
print(json.dumps(seen))
