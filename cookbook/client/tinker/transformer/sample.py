"""Asks a model questions, with the weights that were saved last, or those that are named.

    python cookbook/client/tinker/transformer/sample.py [tinker://.../sampler_weights/... | BASE_MODEL]

Run `self_cognition.py` first: without any saved weights the base model answers. TWINKLE_SERVER_URL, TWINKLE_SERVER_TOKEN and
TWINKLE_MODEL_ID say where, who and of what.
"""

import os
import sys

URL = os.environ.get("TWINKLE_SERVER_URL") or os.environ.get("TINKER_BASE_URL", "http://127.0.0.1:8000")
TOKEN = os.environ.get("TWINKLE_SERVER_TOKEN") or os.environ.get("TINKER_API_KEY", "EMPTY_TOKEN")
BASE_MODEL = os.environ.get("TWINKLE_MODEL_ID", "twinkle/tiny")
# The server has its models' tokenizers too. Read when the SDK is imported.
os.environ.setdefault("HF_ENDPOINT", URL)

from tinker import types  # noqa: E402
from twinkle_compat import init_tinker_compat_client  # noqa: E402

QUESTIONS = ["What is your name?", "Who made you?"]


def last_weights(service):
    saved = service.create_rest_client().list_user_checkpoints(limit=1000).result().checkpoints
    samplers = [checkpoint for checkpoint in saved if checkpoint.checkpoint_type == "sampler"]
    return max(samplers, key=lambda checkpoint: checkpoint.time).tinker_path if samplers else None


def main():
    service = init_tinker_compat_client(base_url=URL, api_key=TOKEN)
    source = sys.argv[1] if len(sys.argv) > 1 else last_weights(service) or BASE_MODEL
    print("weights:", source)
    is_path = source.startswith(("tinker://", "twinkle://"))
    sampler = service.create_sampling_client(**({"model_path": source} if is_path else {"base_model": source}))
    tokenizer = sampler.get_tokenizer()
    params = types.SamplingParams(max_tokens=32, temperature=0.7, seed=1)
    for question in QUESTIONS:
        messages = [{"role": "user", "content": question}]
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        prompt = types.ModelInput.from_ints(tokenizer.encode(text, add_special_tokens=False))
        answer = sampler.sample(prompt, 4, params).result()
        print(question)
        for sequence in answer.sequences:
            print("  ->", tokenizer.decode(sequence.tokens, skip_special_tokens=True))


if __name__ == "__main__":
    main()
