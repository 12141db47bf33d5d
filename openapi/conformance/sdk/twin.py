"""Samples what the TypeScript client sampled, for a comparison token by token: from a base model, and from a sampler handle.

Reads one line of JSON from stdin: base_model, prompt, seed, max_tokens, handle. Writes one: what was drawn, and a handle.
"""

from __future__ import annotations

import json
import sys

import tinker
from tinker import types


def main() -> None:
    asked = json.loads(sys.stdin.readline())
    prompt = types.ModelInput.from_ints(asked["prompt"])
    params = types.SamplingParams(max_tokens=asked["max_tokens"], seed=asked["seed"], temperature=1.0)

    def draw(client: tinker.SamplingClient) -> list[dict]:
        response = client.sample(prompt=prompt, num_samples=2, sampling_params=params).result()
        return [{"tokens": list(each.tokens), "logprobs": list(each.logprobs)} for each in response.sequences]

    service = tinker.ServiceClient()
    base = service.create_sampling_client(base_model=asked["base_model"]).result()
    copy = tinker.SamplingClient.from_sampler_handle(asked["handle"])
    drawn = {"base": draw(base), "copy": draw(copy), "handle": base.get_sampler_handle()}
    print(json.dumps(drawn), flush=True)
    # The handle is of use while its session lives: until the other side has closed our input.
    sys.stdin.read()


if __name__ == "__main__":
    main()
