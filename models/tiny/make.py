"""Makes the tiny model: tokenizer, config, weights, everything in this folder that is not written by hand.

    pip install -r requirements.txt && python make.py            # about 20 minutes on two cores
    python make.py --steps 50 --out /somewhere                   # a quick try

Knows the shape of the model and how it is trained. Does not know what the text says (text.py) or what the model is
good for (check.py). Seeds are fixed: the text and the tokenizer come out the same anywhere, the weights on one kind of
CPU with the same thread count and the versions of requirements.txt.
"""

import argparse
import hashlib
import json
import random
import re
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM

import text

SEED = 5
STEPS = 2000
BATCH_TOKENS = 4096
WARMUP = 100
MATRIX_RATE, OTHER_RATE = 0.02, 3e-3  # Muon for the matrices inside the layers, AdamW for embedding and norms
QUESTION_WEIGHT = 0.1  # what users and systems say counts a little, so that plain text is modelled too
CONTEXT = 512
END_OF_TEXT, START, END = '<|endoftext|>', '<|im_start|>', '<|im_end|>'  # ids 0, 1, 2
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
CONFIG = LlamaConfig(
    vocab_size=512, hidden_size=128, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
    head_dim=32, max_position_embeddings=CONTEXT, rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=True,
    bos_token_id=None, eos_token_id=2, pad_token_id=0, initializer_range=0.02, attention_bias=False, mlp_bias=False)


def pieces(document):
    """A document as (text, weight of its loss) pieces; joined they are exactly what the chat template renders."""
    if isinstance(document, str):
        return [(document + END_OF_TEXT, 1.0)]
    out = []
    for message in document:
        head, body = f'{START}{message["role"]}\n', message['content'] + END
        answer = message['role'] == 'assistant'
        out += [(head, QUESTION_WEIGHT), (body, 1.0 if answer else QUESTION_WEIGHT), ("\n", QUESTION_WEIGHT)]
    return out


def make_tokenizer():
    """Byte-level BPE of 512 entries, each digit its own token, learned from 20 000 documents."""
    r = random.Random(SEED)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer.decoder = decoders.ByteLevel()
    corpus = (piece for _ in range(20_000) for piece, _ in pieces(text.document(r)))
    unmarked = (re.sub(r'<\|\w+\|>', '', piece) for piece in corpus)  # or the markers' letters would be merged as well
    tokenizer.train_from_iterator(unmarked, trainers.BpeTrainer(
        vocab_size=CONFIG.vocab_size, special_tokens=[END_OF_TEXT, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return tokenizer


def tokenize(tokenizer, documents):
    """(ids, weights) of each document, cut at the context length."""
    parts = [pieces(document) for document in documents]
    flat = iter(tokenizer.encode_batch([piece for part in parts for piece, _ in part]))
    for part in parts:
        ids, weights = [], []
        for _, weight in part:
            encoded = next(flat).ids
            ids += encoded
            weights += [weight] * len(encoded)
        yield ids[:CONTEXT], weights[:CONTEXT]


def batches(tokenizer):
    """Endless padded batches of about BATCH_TOKENS tokens, documents of like length together: ids, weights [B, T]."""
    r = random.Random(SEED + 1)
    while True:
        rows = sorted(tokenize(tokenizer, [text.document(r) for _ in range(8192)]), key=lambda row: len(row[0]))
        groups, group = [], []
        for row in rows:
            if group and (len(group) + 1) * len(row[0]) > BATCH_TOKENS:
                groups, group = [*groups, group], []
            group.append(row)
        r.shuffle(groups)  # the last, incomplete group is dropped
        for group in groups:
            width = len(group[-1][0])
            yield tuple(torch.tensor([list(row[i]) + [0] * (width - len(row[i])) for row in group]) for i in (0, 1))


def train(model, tokenizer, steps):
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and 'embed' not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or 'embed' in name]
    optimizers = [torch.optim.Muon(matrices, lr=MATRIX_RATE, weight_decay=0.02),
                  torch.optim.AdamW(others, lr=OTHER_RATE, betas=(0.9, 0.95), weight_decay=0.0)]
    rates = [MATRIX_RATE, OTHER_RATE]
    start, seen, average = time.time(), 0, None
    for step, (ids, weights) in zip(range(steps), batches(tokenizer)):
        logits = model(input_ids=ids).logits[:, :-1]
        losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction='none')
        weights = weights[:, 1:].flatten()
        loss = (losses * weights).sum() / weights.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, rate in zip(optimizers, rates):
            optimizer.param_groups[0]['lr'] = rate * min((step + 1) / WARMUP, 1 - step / steps)  # up, then down to 0
            optimizer.step()
            optimizer.zero_grad()
        seen += ids.numel()
        average = loss.item() if average is None else 0.98 * average + 0.02 * loss.item()
        if step % 100 == 0 or step == steps - 1:
            print(f'step {step:5d}  loss {average:.3f}  {seen / (time.time() - start):.0f} tokens/s  {time.time() - start:.0f} s', flush=True)


def write_json(path, value):
    lines = json.dumps(value, indent=1, ensure_ascii=False)
    short = re.sub(r'\[[\s\d,]+\]', lambda numbers: re.sub(r'\s+', ' ', numbers[0]), lines)  # ids on one line
    path.write_text(short + '\n', encoding='utf-8')


def write_tokenizer(tokenizer, folder):
    write_json(folder / 'tokenizer.json', json.loads(tokenizer.to_str()))
    special = {'lstrip': False, 'normalized': False, 'rstrip': False, 'single_word': False, 'special': True}
    write_json(folder / 'tokenizer_config.json', {
        'tokenizer_class': 'PreTrainedTokenizerFast', 'model_max_length': CONTEXT,
        'bos_token': None, 'unk_token': None, 'eos_token': END, 'pad_token': END_OF_TEXT,
        'additional_special_tokens': [START, END], 'clean_up_tokenization_spaces': False, 'add_prefix_space': False,
        'added_tokens_decoder': {str(i): {'content': t, **special} for i, t in enumerate([END_OF_TEXT, START, END])},
        'chat_template': CHAT_TEMPLATE,
    })


def write_examples(folder):
    """What transformers makes of a few texts and chats with the files just written: other readers must agree (tiny.test.ts)."""
    reader = AutoTokenizer.from_pretrained(folder)
    texts = ['What is 17 + 25?', 'Hello!', '', ' ', '  two  spaces\n\nand lines\t', "I'm sure it's Ada's, we'll see.", '3.14159 and 007',
             'éüñ ß 中文 日本語 😀 \u200d', '<|im_start|>user\nHi<|im_end|>\n', '<|endoftext|>', '<|im_start', 'CAPITALS and_under_scores()']
    chats = [
        [{'role': 'user', 'content': 'What is 17 + 25?'}],
        [{'role': 'system', 'content': 'Be kind.'}, {'role': 'user', 'content': 'Hi'}, {'role': 'assistant', 'content': 'Hello!'},
         {'role': 'user', 'content': '1\n2'}],
    ]
    rendered = [reader.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) for chat in chats]
    write_json(folder / 'tokenization.json', {
        'texts': [{'text': t, 'ids': reader.encode(t), 'decoded': reader.decode(reader.encode(t))} for t in texts],
        'chats': [{'messages': c, 'text': t, 'ids': reader.encode(t)} for c, t in zip(chats, rendered)],
    })


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument('--out', type=Path, default=Path(__file__).parent)
    arguments.add_argument('--steps', type=int, default=STEPS)
    arguments.add_argument('--threads', type=int, default=2)
    options = arguments.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    torch.manual_seed(SEED)

    tokenizer = make_tokenizer()
    write_tokenizer(tokenizer, options.out)
    write_examples(options.out)
    model = LlamaForCausalLM(CONFIG)
    print(f'{sum(p.numel() for p in model.parameters())} parameters', flush=True)
    train(model, tokenizer, options.steps)
    model.generation_config = GenerationConfig(do_sample=False, eos_token_id=[2, 0], pad_token_id=0)
    model.save_pretrained(options.out)
    (options.out / 'model.safetensors').chmod(0o644)
    print('sha256', hashlib.sha256((options.out / 'model.safetensors').read_bytes()).hexdigest())


if __name__ == '__main__':
    main()
