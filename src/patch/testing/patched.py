"""Uses the patch with whichever Tinker SDK is installed, and prints what came of it as one line of JSON. The server's
address comes without a scheme and with the path that the SDK adds by itself."""

from __future__ import annotations

import asyncio
import json
import os
import warnings

warnings.filterwarnings("ignore")

import tinker  # noqa: E402
from tinker import types  # noqa: E402
from tinker.types.checkpoint import ParsedCheckpointTinkerPath  # noqa: E402
from twinkle_compat import init_tinker_client, init_tinker_compat_client, restore_tinker  # noqa: E402

SERVER = os.environ["SERVER"]
MODEL = "twinkle/tiny"
KEY = "no-prefix"
WAIT = 60


def done(value):
    return value.result(WAIT) if hasattr(value, "result") else value


def refusal(**arguments) -> str:
    """Why the SDK, as it is now, does not take these."""
    try:
        done(tinker.ServiceClient(**arguments).get_server_capabilities())
    except Exception as error:
        return str(error)
    return ""


def as_twinkle(path: str) -> str:
    return "twinkle://" + path.split("://")[1]


def trained(service) -> dict:
    training = done(service.create_lora_training_client(base_model=MODEL, rank=4, seed=1))
    datum = types.Datum(
        model_input=types.ModelInput.from_ints(list(range(100, 116))),
        loss_fn_inputs={"target_tokens": list(range(101, 117)), "weights": [1.0] * 16},
    )

    def step() -> None:
        done(training.forward_backward([datum], "cross_entropy"))
        done(training.optim_step(types.AdamParams(learning_rate=1e-3)))

    def loss() -> float:
        result = done(training.forward([datum], "cross_entropy"))
        return -sum(result.loss_fn_outputs[0]["logprobs"].data)

    losses = [loss()]
    step()
    losses.append(loss())
    state = as_twinkle(done(training.save_state("compat")).path)
    step()
    done(training.load_state(state))
    weights = as_twinkle(done(training.save_weights_for_sampler("compat")).path)
    sampling = done(service.create_sampling_client(model_path=weights))
    prompt = types.ModelInput.from_ints([100, 101, 102])
    sample = done(sampling.sample(prompt, 1, types.SamplingParams(max_tokens=4, seed=1)))
    return {
        "losses": losses,
        "loaded": loss(),
        "sampled": len(sample.sequences[0].tokens),
    }


def main() -> None:
    original = tinker.ServiceClient.__init__
    url = f"http://{SERVER}"
    before = refusal(base_url=url, api_key=KEY)
    service = init_tinker_compat_client(base_url=f"{SERVER}/api/v1/", api_key=KEY, user_metadata={"who": "patch"})
    patched = tinker.ServiceClient.__init__
    init_tinker_client(anything="is ignored")
    said = {
        "version": tinker.__version__,
        "before": before,
        "trained": trained(service),
        "wrapped_once": tinker.ServiceClient.__init__ is patched,
        "parsed": ParsedCheckpointTinkerPath.from_tinker_path("twinkle://run/weights/a").tinker_path,
        "runs": len(done(service.create_rest_client().list_training_runs()).training_runs),
    }
    os.environ["TWINKLE_SERVER_TOKEN"] = "from-the-environment"
    os.environ["TWINKLE_SERVER_URL"] = SERVER
    done(init_tinker_compat_client().get_server_capabilities())
    restore_tinker()
    said["restored"] = tinker.ServiceClient.__init__ is original
    said["after"] = refusal(base_url=url, api_key=KEY)
    print(json.dumps(said), flush=True)
    # Threads of the SDK need not end in order for this to be over.
    os._exit(0)


main()
