"""What PEFT and transformers themselves make of adapters and models: each command prints the log-probability of every
token but the first, as JSON.

    peft_models.py make BASE OUT OPTIONS TOKENS    saves a random adapter (OPTIONS of LoraConfig, as JSON)
    peft_models.py peft BASE ADAPTER TOKENS        of a base model with an adapter
    peft_models.py plain MODEL TOKENS              of a model alone
"""

import json
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def logprobs(model, tokens):
    ids = torch.tensor([tokens])
    with torch.no_grad():
        scores = model.eval()(input_ids=ids).logits[0, :-1].log_softmax(-1)
    return scores.gather(-1, ids[0, 1:, None])[:, 0].tolist()


def make(base, out, options):
    torch.manual_seed(0)
    model = get_peft_model(load(base), LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **json.loads(options)))
    model.save_pretrained(out)
    return model


COMMANDS = {
    "make": make,
    "peft": lambda base, adapter: PeftModel.from_pretrained(load(base), adapter),
    "plain": load,
}

command, *arguments, tokens = sys.argv[1:]
json.dump(logprobs(COMMANDS[command](*arguments), json.loads(tokens)), sys.stdout)
