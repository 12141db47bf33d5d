"""Tinker's SDK after twinkle-kit's own init_tinker_client has patched it, against a real server.

    python patched.py URL MODEL       prints one JSON object: what it saw
"""

import json
import sys

from twinkle_client import init_tinker_client

URL, MODEL = sys.argv[1:3]
init_tinker_client()

import tinker  # noqa: E402
from tinker import types  # noqa: E402

TOKENS = [5, 9, 17, 23, 42, 61, 5, 9]

service = tinker.ServiceClient(base_url=URL, api_key="EMPTY_TOKEN")
models = [m.model_name for m in service.get_server_capabilities().supported_models]
client = service.create_lora_training_client(base_model=MODEL, rank=8)
datum = types.Datum(
    model_input=types.ModelInput.from_ints(TOKENS[:-1]),
    loss_fn_inputs={"target_tokens": TOKENS[1:], "weights": [1.0] * (len(TOKENS) - 1)},
)
losses = []
for _ in range(6):
    passed = client.forward_backward([datum], "cross_entropy")
    stepped = client.optim_step(types.AdamParams(learning_rate=0.01))
    logprobs = passed.result().loss_fn_outputs[0]["logprobs"].data
    stepped.result()
    losses.append(-sum(logprobs))


def loss_of(of):
    return -sum(of.forward([datum], "cross_entropy").result().loss_fn_outputs[0]["logprobs"].data)


path = client.save_state("patched").result().path
# A path of either scheme is one for the patched SDK.
resumed = service.create_training_client_from_state(path.replace("tinker://", "twinkle://"))
print(json.dumps({"models": models, "losses": losses, "path": path, "saved": loss_of(client), "resumed": loss_of(resumed)}))
