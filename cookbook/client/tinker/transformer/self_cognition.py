"""Gives a model a new name and maker, then asks it questions that it was not trained on, with a sampler of its own.

    pip install tinker==0.38.0 ./src/patch/python
    python cookbook/client/tinker/transformer/server.py          # in a terminal of its own
    python cookbook/client/tinker/transformer/self_cognition.py [NAME AUTHOR]

It saves after every epoch; run again, it goes on after the last one that was saved, and with nothing left to train it only
evaluates. TWINKLE_SERVER_URL, TWINKLE_SERVER_TOKEN and TWINKLE_MODEL_ID say where, who and on what, EPOCHS how long.
"""

import json
import os
import re
import sys
from pathlib import Path

URL = os.environ.get("TWINKLE_SERVER_URL") or os.environ.get("TINKER_BASE_URL", "http://127.0.0.1:8000")
TOKEN = os.environ.get("TWINKLE_SERVER_TOKEN") or os.environ.get("TINKER_API_KEY", "EMPTY_TOKEN")
BASE_MODEL = os.environ.get("TWINKLE_MODEL_ID", "twinkle/tiny")
# The server has its models' tokenizers too. Read when the SDK is imported.
os.environ.setdefault("HF_ENDPOINT", URL)

from tinker import types  # noqa: E402
from twinkle_compat import init_tinker_compat_client  # noqa: E402

NAME, AUTHOR = sys.argv[1:3] if len(sys.argv) > 2 else ("Twinkle", "Ada")
RUN, BATCH, LEARNING_RATE = f"self-cognition-{NAME}", 4, 2e-3
EPOCHS = int(os.environ.get("EPOCHS", 10))


def rows(split):
    """(question, answer) of the file's rows; those to be examined by are marked."""
    lines = (Path(__file__).parent / "self_cognition.jsonl").read_text().splitlines()
    found = [row for row in map(json.loads, lines) if row.get("split", "train") == split]
    filled = [row["response"].replace("{{NAME}}", NAME).replace("{{AUTHOR}}", AUTHOR) for row in found]
    return list(zip((row["query"] for row in found), filled))


def last_checkpoint(service):
    """(path, epoch) of what was saved last, (None, 0) at first."""
    saved = service.create_rest_client().list_user_checkpoints(limit=1000).result().checkpoints
    for checkpoint in sorted(saved, key=lambda each: each.time, reverse=True):
        match = re.fullmatch(rf"weights/{re.escape(RUN)}-epoch-(\d+)", checkpoint.checkpoint_id)
        if match:
            return checkpoint.tinker_path, int(match[1])
    return None, 0


def prompt(tokenizer, question):
    messages = [{"role": "user", "content": question}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return tokenizer.encode(text, add_special_tokens=False)


def datum(tokenizer, question, answer):
    """Predicts each token of the answer and its end; the prompt has weight 0."""
    start = prompt(tokenizer, question)
    end = tokenizer.encode(answer, add_special_tokens=False) + [tokenizer.eos_token_id]
    return types.Datum(
        model_input=types.ModelInput.from_ints(start + end[:-1]),
        loss_fn_inputs={"target_tokens": start[1:] + end, "weights": [0.0] * (len(start) - 1) + [1.0] * len(end)},
    )


def train(service):
    """Path of the trained weights."""
    path, done = last_checkpoint(service)
    if path:
        print(f"resume: epoch {done} from {path}")
        training = service.create_training_client_from_state_with_optimizer(path)
    else:
        training = service.create_lora_training_client(base_model=BASE_MODEL, rank=16)
    tokenizer = training.get_tokenizer()
    data = [datum(tokenizer, *row) for row in rows("train")]
    for epoch in range(done + 1, EPOCHS + 1):
        # A whole epoch is on its way before its first result is there: the server never waits for this script.
        batches = [data[start : start + BATCH] for start in range(0, len(data), BATCH)]
        adam = types.AdamParams(learning_rate=LEARNING_RATE)
        steps = [(training.forward_backward(batch, "cross_entropy"), training.optim_step(adam)) for batch in batches]
        loss = 0.0
        for forward_backward, optim_step in steps:
            loss += forward_backward.result().metrics["loss:sum"]
            optim_step.result()
        weight = sum(sum(d.loss_fn_inputs["weights"].data) for d in data)
        saved = training.save_state(f"{RUN}-epoch-{epoch}").result()
        print(f"epoch {epoch:2d}  loss {loss / weight:.4f}  saved {saved.path}")
    return training.save_weights_for_sampler(RUN).result().path


def evaluate(sampler):
    tokenizer = sampler.get_tokenizer()
    params = types.SamplingParams(max_tokens=32, temperature=0.0)
    exam = rows("test")
    prompts = [types.ModelInput.from_ints(prompt(tokenizer, question)) for question, _ in exam]
    futures = [sampler.sample(each, 1, params) for each in prompts]
    answers = [tokenizer.decode(future.result().sequences[0].tokens, skip_special_tokens=True) for future in futures]
    for (question, _), answer in zip(exam, answers):
        print(f"  {question} -> {answer}")
    return f"{sum(wanted == answer for (_, wanted), answer in zip(exam, answers))} of {len(exam)}"


def main():
    service = init_tinker_compat_client(base_url=URL, api_key=TOKEN)
    print("before:", evaluate(service.create_sampling_client(base_model=BASE_MODEL)))
    weights = train(service)
    print("after: ", evaluate(service.create_sampling_client(model_path=weights)))
    print("weights:", weights)


if __name__ == "__main__":
    main()
