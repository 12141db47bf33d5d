"""Teaches a model Pig Latin with a LoRA adapter, through the unmodified Tinker SDK and the patch `twinkle_compat`.

    pip install tinker==0.38.0 ./src/patch/python
    python cookbook/client/tinker/transformer/server.py          # in a terminal of its own
    python cookbook/client/tinker/transformer/lora.py [BASE_MODEL]

It saves after every epoch; run again, it goes on after the last one that was saved, and with nothing left to train it only
samples and evaluates. TWINKLE_SERVER_URL, TWINKLE_SERVER_TOKEN and TWINKLE_MODEL_ID say where, who and on what,
EPOCHS how long.
"""

import json
import os
import re
import sys
from pathlib import Path

URL = os.environ.get("TWINKLE_SERVER_URL") or os.environ.get("TINKER_BASE_URL", "http://127.0.0.1:8000")
TOKEN = os.environ.get("TWINKLE_SERVER_TOKEN") or os.environ.get("TINKER_API_KEY", "EMPTY_TOKEN")
BASE_MODEL = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("TWINKLE_MODEL_ID", "twinkle/tiny")
# The server has its models' tokenizers too. Read when the SDK is imported.
os.environ.setdefault("HF_ENDPOINT", URL)

from tinker import types  # noqa: E402
from twinkle_compat import init_tinker_compat_client  # noqa: E402

NAME, ROUNDS, LEARNING_RATE = "pig-latin", 6, 4e-3
EPOCHS = int(os.environ.get("EPOCHS", 5))
ROWS = [json.loads(line) for line in (Path(__file__).parent / "pig_latin.jsonl").read_text().splitlines()]


def last_checkpoint(service):
    """(path, epoch) of what was saved last, (None, 0) at first."""
    saved = service.create_rest_client().list_user_checkpoints(limit=1000).result().checkpoints
    newest_first = sorted(saved, key=lambda checkpoint: checkpoint.time, reverse=True)
    for checkpoint in newest_first:
        match = re.fullmatch(rf"weights/{NAME}-epoch-(\d+)", checkpoint.checkpoint_id)
        if match:
            return checkpoint.tinker_path, int(match[1])
    return None, 0


def prompt(tokenizer, english):
    return tokenizer.encode(f"English: {english}\nPig Latin:")


def datum(tokenizer, row):
    """Predicts each token of the answer; the prompt has weight 0."""
    start, answer = prompt(tokenizer, row["english"]), tokenizer.encode(f" {row['pig_latin']}\n")
    return types.Datum(
        model_input=types.ModelInput.from_ints(start + answer[:-1]),
        loss_fn_inputs={
            "target_tokens": start[1:] + answer,
            "weights": [0.0] * (len(start) - 1) + [1.0] * len(answer),
        },
    )


def main():
    service = init_tinker_compat_client(base_url=URL, api_key=TOKEN)
    print("models:", ", ".join(model.model_name for model in service.get_server_capabilities().supported_models))
    path, done = last_checkpoint(service)
    if path:
        print(f"resume: epoch {done} from {path}")
        training = service.create_training_client_from_state_with_optimizer(path)
    else:
        training = service.create_lora_training_client(base_model=BASE_MODEL, rank=16)
    tokenizer = training.get_tokenizer()
    data = [datum(tokenizer, row) for row in ROWS]
    weight = sum(sum(d.loss_fn_inputs["weights"].data) for d in data)

    for epoch in range(done + 1, EPOCHS + 1):
        for _ in range(ROUNDS):
            # Both are on their way before the first result is there: the server never waits for this script.
            forward_backward = training.forward_backward(data, "cross_entropy")
            optim_step = training.optim_step(types.AdamParams(learning_rate=LEARNING_RATE))
            loss = forward_backward.result().metrics["loss:sum"] / weight
            optim_step.result()
        saved = training.save_state(f"{NAME}-epoch-{epoch}").result()
        print(f"epoch {epoch}  loss {loss:.4f}  saved {saved.path}")

    weights = training.save_weights_for_sampler(NAME).result().path
    sampler = service.create_sampling_client(model_path=weights)
    params = types.SamplingParams(max_tokens=24, temperature=0.0, stop=["\n"])
    futures = [sampler.sample(types.ModelInput.from_ints(prompt(tokenizer, row["english"])), 1, params) for row in ROWS]
    answers = [tokenizer.decode(future.result().sequences[0].tokens).strip() for future in futures]
    for row, answer in zip(ROWS, answers):
        print(f"{row['english']} -> {answer}")
    print(f"right: {sum(row['pig_latin'] == answer for row, answer in zip(ROWS, answers))} of {len(ROWS)}")
    print(f"weights: {weights}")


if __name__ == "__main__":
    main()
