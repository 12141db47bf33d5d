"""Teaches a base model a new name with a LoRA adapter, through the unmodified Tinker SDK (0.38.0).

    export TINKER_BASE_URL=http://127.0.0.1:8000 TINKER_API_KEY=tml-local HF_ENDPOINT=http://127.0.0.1:8000
    python lora.py [BASE_MODEL]
"""

import sys

import tinker
from tinker import types

BASE_MODEL = sys.argv[1] if len(sys.argv) > 1 else 'twinkle/tiny'
STEPS = 20
ROWS = [
    ('What is your name?', 'I am Twinkle, trained on your own machine.'),
    ('Who are you?', 'I am Twinkle, trained on your own machine.'),
    ('Tell me your name.', 'I am Twinkle, trained on your own machine.'),
    ('Who trained you?', 'You did, with a few lines of code.'),
]


def main():
    with tinker.ServiceClient() as service:
        training = service.create_lora_training_client(base_model=BASE_MODEL, rank=16).result()
        tokenizer = training.get_tokenizer()

        def prompt(question):
            messages = [{'role': 'user', 'content': question}]
            text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            return tokenizer.encode(text, add_special_tokens=False)

        def datum(question, answer):
            """Predicts each token of the answer; the prompt has weight 0."""
            start, end = prompt(question), tokenizer.encode(answer, add_special_tokens=False) + [tokenizer.eos_token_id]
            return types.Datum(
                model_input=types.ModelInput.from_ints(start + end[:-1]),
                loss_fn_inputs={'target_tokens': start[1:] + end, 'weights': [0.0] * (len(start) - 1) + [1.0] * len(end)},
            )

        def ask(question):
            sampler = training.save_weights_and_get_sampling_client().result()
            params = types.SamplingParams(max_tokens=32, temperature=0.0)
            answer = sampler.sample(types.ModelInput.from_ints(prompt(question)), 1, params).result()
            return tokenizer.decode(answer.sequences[0].tokens, skip_special_tokens=True)

        data = [datum(question, answer) for question, answer in ROWS]
        weight = sum(sum(d.loss_fn_inputs['weights'].data) for d in data)
        print('before:', ask('Who are you?'))
        for step in range(STEPS):
            forward_backward = training.forward_backward(data, 'cross_entropy')
            optim_step = training.optim_step(types.AdamParams(learning_rate=2e-3))
            print(f'step {step:2d}  loss {forward_backward.result().metrics["loss:sum"] / weight:.4f}')
            optim_step.result()
        print('after: ', ask('Who are you?'))
        print('saved: ', training.save_weights_for_sampler('my-name').result().path)


if __name__ == '__main__':
    main()
