"""Gives a model a new name and maker with a LoRA adapter, through the unmodified `twinkle_client` of twinkle-kit.

    pip install twinkle-kit==0.5.1
    python cookbook/client/twinkle/transformer/server.py          # in a terminal of its own
    python cookbook/client/twinkle/transformer/lora.py

It saves after every epoch; run again, it goes on after the last one that was saved, and with nothing left to train it only
samples and evaluates. TWINKLE_SERVER_URL, TWINKLE_SERVER_TOKEN and TWINKLE_MODEL_ID say where, who and on what, EPOCHS how
long. PyTorch is not needed: conversations go to the server as they are, and its template makes rows of them.
"""

import importlib.util
import json
import os
import re
import sys
import types
from pathlib import Path

if importlib.util.find_spec("peft") is None:
    # The client's sampler imports a name of peft and does nothing with it here; peft itself would need PyTorch.
    sys.modules["peft"] = types.ModuleType("peft")
    sys.modules["peft"].PeftConfig = sys.modules["peft"].LoraConfig = type("PeftConfig", (), {})

from twinkle_client import init_twinkle_client  # noqa: E402
from twinkle_client.model import MultiLoraTransformersModel  # noqa: E402
from twinkle_client.sampler import vLLMSampler  # noqa: E402

URL = os.environ.get("TWINKLE_SERVER_URL", "http://127.0.0.1:8000")
TOKEN = os.environ.get("TWINKLE_SERVER_TOKEN", "EMPTY_TOKEN")
MODEL = os.environ.get("TWINKLE_MODEL_ID", "twinkle/tiny")
NAME, AUTHOR, RUN, BATCH, ACCUMULATION = "Twinkle", "Ada", "self-cognition", 2, 2
EPOCHS = int(os.environ.get("EPOCHS", 10))
# What the client makes of a peft LoraConfig: with peft installed, hand one of those over.
LORA = json.dumps({"r": 16, "lora_alpha": 32, "target_modules": "all-linear", "_TWINKLE_TYPE_": "LoraConfig"})


def conversations(split):
    """Messages of the file's rows, the answer last; those to be examined by are marked."""
    text = (Path(__file__).parent / "self_cognition.jsonl").read_text()
    rows = map(json.loads, text.replace("{{NAME}}", NAME).replace("{{AUTHOR}}", AUTHOR).splitlines())
    return [
        [{"role": "user", "content": row["query"]}, {"role": "assistant", "content": row["response"]}]
        for row in rows
        if row.get("split", "train") == split
    ]


def last_checkpoint(client):
    """(path, epoch) of what was saved last, (None, 0) at first."""
    for run in client.list_training_runs(limit=100):
        for checkpoint in reversed(client.list_checkpoints(run.training_run_id)):
            match = re.fullmatch(rf"weights/{RUN}-epoch-(\d+)", checkpoint.checkpoint_id)
            if match:
                return checkpoint.twinkle_path, int(match[1])
    return None, 0


def adapter():
    model = MultiLoraTransformersModel(model_id=MODEL)
    model.add_adapter_to_model(RUN, LORA, gradient_accumulation_steps=ACCUMULATION)
    model.set_template("Template", model_id=MODEL, max_length=512)
    model.set_processor("InputProcessor", padding_side="right")
    model.set_loss("CrossEntropyLoss")
    model.set_optimizer("AdamW", lr=2e-3)
    model.set_lr_scheduler("LinearLR", start_factor=1.0, end_factor=0.5, total_iters=30)
    return model


def train(client, model):
    """Path of the trained weights."""
    path, done = last_checkpoint(client)
    if path:
        progress = model.resume_from_checkpoint(path)
        print(f"resume: epoch {done}, step {progress['cur_step']}, from {path}")
    print(model.get_train_configs().result)
    rows = [{"messages": messages} for messages in conversations("train")]
    for epoch in range(done + 1, EPOCHS + 1):
        losses = []
        for start in range(0, len(rows), BATCH):
            losses.append(model.forward_backward(inputs=rows[start : start + BATCH]).result["loss"])
            # Updates when the gradient of ACCUMULATION batches is there.
            model.clip_grad_and_step(max_grad_norm=1.0)
        consumed = epoch * len(rows)
        saved = model.save(f"{RUN}-epoch-{epoch}", save_optimizer=True, consumed_train_samples=consumed)
        print(f"epoch {epoch:2d}  loss {sum(losses) / len(losses):.4f}  saved {saved.twinkle_path}")
    return model.save(RUN, is_sampler=True).twinkle_path


def evaluate(weights=None):
    exam = conversations("test")
    inputs = [{"messages": messages[:1]} for messages in exam]
    params = {"max_tokens": 32, "temperature": 0.0}
    samples = vLLMSampler(model_id=MODEL).sample(inputs, params, adapter_uri=weights)
    answers = [sample.sequences[0].decoded.replace("<|im_end|>", "") for sample in samples]
    for (question, _), answer in zip(exam, answers):
        print(f"  {question['content']} -> {answer}")
    right = sum(wanted["content"] == answer for (_, wanted), answer in zip(exam, answers))
    return f"{right} of {len(exam)}"


def main():
    client = init_twinkle_client(base_url=URL, api_key=TOKEN)
    print("models:", ", ".join(model.model_name for model in client.get_server_capabilities().supported_models))
    print("before:", evaluate())
    weights = train(client, adapter())
    print("after: ", evaluate(weights))
    print("weights:", weights)
    client.close()


if __name__ == "__main__":
    main()
