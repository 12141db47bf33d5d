"""Shows that the tiny model is worth training: what it answers, how it takes supervised and reinforcement learning.

    python check.py [answers] [sft] [rl]        # all three without an argument, half a minute

Knows LoRA as the Tinker wire defines it (scale 32 / rank, B = 0, output projection included, AdamW, losses summed) and
the recipes of tasks.json. An independent witness in PyTorch: uses nothing of the server. Numbers in README.md are from here.
"""

import argparse
import json
import random
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import text

ALPHA = 32
SKIPPED = -100


class Lora(torch.nn.Module):
    """y = W x + (alpha / rank) B A x, for a frozen linear W."""

    def __init__(self, base, rank):
        super().__init__()
        self.base, self.scale = base, ALPHA / rank
        self.a = torch.nn.Parameter(torch.empty(rank, base.in_features).uniform_(-1, 1) / base.in_features**0.5)
        self.b = torch.nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x):
        return self.base(x) + self.scale * (x @ self.a.T) @ self.b.T


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


def with_lora(model, rank, seed=0):
    """Every linear layer gets an adapter; answers the trainable parameters."""
    torch.manual_seed(seed)
    model.requires_grad_(False)
    for path, module in list(model.named_modules()):
        if isinstance(module, torch.nn.Linear):
            parent, _, name = path.rpartition('.')
            setattr(model.get_submodule(parent), name, Lora(module, rank))
    return [p for p in model.parameters() if p.requires_grad]


def prompt_ids(tokenizer, question):
    messages = [{'role': 'user', 'content': question}]
    return tokenizer.encode(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def sample(model, tokenizer, questions, temperature, max_tokens=48):
    """One completion (token ids, the stop token included) for each question; temperature 0 is greedy."""
    prompts = [prompt_ids(tokenizer, question) for question in questions]
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    how = {'do_sample': True, 'temperature': temperature, 'top_k': 0, 'top_p': 1.0} if temperature else {'do_sample': False}
    out = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=max_tokens, **how)[:, width:].tolist()
    return [row[: row.index(2) + 1] if 2 in row else row for row in out]


def plain(tokenizer, completion):
    return tokenizer.decode(completion, skip_special_tokens=True)


def answer_logprobs(model, tokenizer, pairs):
    """Log-probabilities of the completion tokens [B, T], 0 elsewhere, for (question, completion ids) pairs."""
    rows = [(prompt_ids(tokenizer, question), completion) for question, completion in pairs]
    width = max(len(p) + len(c) for p, c in rows)
    ids = torch.tensor([p + c + [0] * (width - len(p) - len(c)) for p, c in rows])
    targets = torch.tensor([[SKIPPED] * (len(p) - 1) + c + [SKIPPED] * (width - len(p) - len(c)) for p, c in rows])
    logits = model(input_ids=ids[:, :-1]).logits
    return -torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, reduction='none', ignore_index=SKIPPED)


def adam(parameters, learning_rate):
    return torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.95), eps=1e-12, weight_decay=0.0)


def answers(folder):
    model, tokenizer = load(folder)
    r = random.Random(100)
    for task in text.TASKS:
        pairs = [task(r) for _ in range(100)]
        replies = [plain(tokenizer, c) for c in sample(model, tokenizer, [q for q, _ in pairs], 0)]
        right = sum(reply == answer for reply, (_, answer) in zip(replies, pairs))
        print(f'{task.__name__:12s} {right:3d} % as written; {pairs[0][0]!r} -> {replies[0]!r}')
    ids = torch.tensor([tokenizer.encode('Once upon a time')])
    print('plain text:', plain(tokenizer, model.generate(ids, max_new_tokens=60)[0].tolist()))


def sft(folder, recipe):
    model, tokenizer = load(folder)
    optimizer = adam(with_lora(model, recipe['rank']), recipe['learning_rate'])
    pairs = [(row['question'], tokenizer.encode(row['answer'] + '<|im_end|>')) for row in recipe['rows']]
    shown = recipe['rows'][:1] + recipe['held_out'] + [{'question': 'Spell river.'}, {'question': '12+13='}]

    def show(when):
        for row, reply in zip(shown, sample(model, tokenizer, [row['question'] for row in shown], 0)):
            print(f'sft {when}: {row["question"]!r} -> {plain(tokenizer, reply)!r}')

    show('before')
    start = time.time()
    for step in range(recipe['steps'] + 1):
        loss = -answer_logprobs(model, tokenizer, pairs).sum()
        if step % 5 == 0:
            print(f'sft step {step:3d}  loss per token {loss.item() / sum(len(c) for _, c in pairs):.4f}  {time.time() - start:.1f} s')
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    show('after')


def rl(folder, recipe, seed=0):
    model, tokenizer = load(folder)
    optimizer = adam(with_lora(model, recipe['rank'], seed), recipe['learning_rate'])
    r, held_out = random.Random(seed), random.Random(1000)

    def problem(r):
        a, b = r.randint(0, recipe['largest_addend']), r.randint(0, recipe['largest_addend'])
        return recipe['prompt'].format(a=a, b=b), str(a + b)

    fixed = [problem(held_out) for _ in range(200)]

    def show(when):
        questions = [question for question, _ in fixed]
        for temperature in (1.0, 0):
            replies = [plain(tokenizer, c) for c in sample(model, tokenizer, questions, temperature, recipe['max_tokens'])]
            mean = sum(reply == answer for reply, (_, answer) in zip(replies, fixed)) / len(fixed)
            print(f'rl {when}: temperature {temperature}: reward {mean:.2f} on {len(fixed)} fixed problems; {questions[0]!r} -> {replies[0]!r}')

    show('before')
    start = time.time()
    for step in range(recipe['steps']):
        problems = [p for p in (problem(r) for _ in range(recipe['groups'])) for _ in range(recipe['group_size'])]
        with torch.no_grad():
            completions = sample(model, tokenizer, [question for question, _ in problems], 1.0, recipe['max_tokens'])
        rewards = torch.tensor([float(plain(tokenizer, c) == answer) for c, (_, answer) in zip(completions, problems)])
        groups = rewards.view(recipe['groups'], recipe['group_size'])
        advantages = (groups - groups.mean(1, keepdim=True)).flatten()
        logprobs = answer_logprobs(model, tokenizer, [(q, c) for (q, _), c in zip(problems, completions)])
        loss = -((logprobs - logprobs.detach()).exp() * (logprobs != 0) * advantages[:, None]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 3 == 0 or step == recipe['steps'] - 1:
            print(f'rl step {step:3d}  reward {rewards.mean():.2f}  {time.time() - start:.1f} s', flush=True)
    show('after')


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument('what', nargs='*', help='answers, sft, rl; all three when left out')
    arguments.add_argument('--folder', type=Path, default=Path(__file__).parent)
    arguments.add_argument('--threads', type=int, default=2)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    recipes = json.loads((Path(__file__).parent / 'tasks.json').read_text())
    parts = {
        'answers': lambda: answers(options.folder),
        'sft': lambda: sft(options.folder, recipes['sft']),
        'rl': lambda: rl(options.folder, recipes['rl']),
    }
    for name in options.what or parts:
        if name not in parts:
            arguments.error(f'unknown part {name!r}; there are {", ".join(parts)}')
        parts[name]()


if __name__ == '__main__':
    main()
