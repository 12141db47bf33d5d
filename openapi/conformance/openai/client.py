"""What scripts do with the official `openai` package, against the server in OPENAI_BASE_URL, which is all that this knows of
it. Prints the name of each part that is done; the first that is not ends the run with its traceback."""

import asyncio
import os

import openai

MODEL, SAVED = os.environ["MODEL"], os.environ["SAVED"]
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who are you? 😀"}]
ASK = {"model": MODEL, "messages": MESSAGES, "max_tokens": 12}
client = openai.OpenAI(max_retries=0)


def text_of(chunks, index=0):
    deltas = [c.delta.content or "" for chunk in chunks for c in chunk.choices if c.index == index]
    return "".join(deltas)


def models():
    assert [m.id for m in client.models.list()] == [MODEL]
    assert client.models.retrieve(SAVED).id == SAVED


def chat():
    answer = client.chat.completions.create(**ASK, n=2, seed=7, temperature=1.5)
    again = client.chat.completions.create(**ASK, n=2, seed=7, temperature=1.5)
    said = [c.message.content for c in answer.choices]
    assert said == [c.message.content for c in again.choices] and said[0] != said[1], said
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens and usage.completion_tokens <= 24


def stream():
    whole = client.chat.completions.create(**ASK, n=2, seed=7, temperature=1.5)
    options = {"include_usage": True}
    chunks = list(client.chat.completions.create(**ASK, n=2, seed=7, temperature=1.5, stream=True, stream_options=options))
    for choice in whole.choices:
        assert text_of(chunks, choice.index) == choice.message.content
    assert chunks[-1].usage == whole.usage, (chunks[-1].usage, whole.usage)


def logprobs():
    choice = client.chat.completions.create(**ASK, logprobs=True, top_logprobs=3, temperature=0).choices[0]
    assert "".join(t.token for t in choice.logprobs.content) == choice.message.content
    for token in choice.logprobs.content:
        assert token.logprob == token.top_logprobs[0].logprob and len(token.top_logprobs) == 3


def completions():
    answer = client.completions.create(model=SAVED, prompt="2 + 2 =", max_tokens=4, echo=True, logprobs=1)
    assert answer.choices[0].text.startswith("2 + 2 =") and answer.choices[0].logprobs.token_logprobs[0] is None
    tokens = client.completions.create(model=MODEL, prompt=[[20, 21], [22]], max_tokens=2, n=2)
    assert [c.index for c in tokens.choices] == [0, 1, 2, 3] and tokens.usage.prompt_tokens == 3


def stop():
    free = client.chat.completions.create(**ASK, temperature=0).choices[0].message.content
    word = free.split()[2]
    stopped = client.chat.completions.create(**ASK, temperature=0, stop=[word]).choices[0]
    assert free.startswith(stopped.message.content) and word not in stopped.message.content
    assert stopped.finish_reason == "stop"


def errors():
    for changes, expected, param in [
        ({"model": "nobody/nothing"}, openai.NotFoundError, "model"),
        ({"temperature": -1}, openai.BadRequestError, "temperature"),
        ({"response_format": {"type": "json_object"}}, openai.BadRequestError, "response_format"),
        ({"max_tokens": 100_000}, openai.BadRequestError, None),
    ]:
        try:
            client.chat.completions.create(**{**ASK, **changes})
        except expected as error:
            assert error.param == param and error.code, error
        else:
            raise AssertionError(changes)
    try:
        client.with_options(api_key="other").models.list()
    except openai.AuthenticationError as error:
        assert error.code == "invalid_api_key"
    else:
        raise AssertionError("a wrong key was taken")


def leave():
    with client.chat.completions.create(**{**ASK, "max_tokens": 400}, stream=True) as chunks:
        next(iter(chunks))
    assert client.chat.completions.create(**ASK).choices


async def many_at_once():
    async with openai.AsyncOpenAI(max_retries=0) as many:
        asked = [many.chat.completions.create(**ASK, seed=i) for i in range(8)]
        together = [a.choices[0].message.content for a in await asyncio.gather(*asked)]
    alone = [client.chat.completions.create(**ASK, seed=i).choices[0].message.content for i in range(8)]
    assert together == alone


for part in [models, chat, stream, logprobs, completions, stop, errors, leave]:
    part()
    print(part.__name__, flush=True)
asyncio.run(many_at_once())
print("many_at_once", flush=True)
