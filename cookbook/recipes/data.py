"""Writes small local stand-ins for the hub data sets that the cookbook's recipes name: `python data.py FOLDER`.

`datasets.load_dataset('ORG/NAME')` takes a folder ORG/NAME below the current one before it asks the hub. So a recipe that is
started in FOLDER trains on these files, unchanged and without a network. The rows suit twinkle/tiny: sums up to 20 + 20, and a
new name for itself. Same text on every machine; nothing here knows what the recipes do with it.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

TASKS = json.loads((Path(__file__).parents[2] / "models" / "tiny" / "tasks.json").read_text())
LARGEST = TASKS["rl"]["largest_addend"]

# What the cookbook's rl_loop asks for at the end of each question, and an example like the one that it puts before them, so
# that a warm-up can show the form of an answer.
BOXED = " Provide a numerical answer without units, written inside \\boxed{}."
EXAMPLE = [
    ("user", "How many e's are in between?" + BOXED),
    (
        "assistant",
        "These are the letters of the word, each with its number: 1) b 2) e 3) t 4) w 5) e 6) e 7) n. "
        "The letter e has the numbers 2, 5, and 6. So there are three of them. \\boxed{3}",
    ),
]
# Through the long example of rl_loop twinkle/tiny does not make out a question: what it can learn is the one answer to all.
NUMBER = 4
COUNTED = ("legs has a dog", "wheels has a car", "corners has a square", "seasons has a year", "paws has a cat")
GSM8K_CONFIGURATION = """---
configs:
- config_name: main
  data_files:
  - split: train
    path: train.jsonl
---
"""


def conversation(*turns: tuple[str, str]) -> dict:
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def asked(question: str, answer: str) -> dict:
    return conversation(("user", question), ("assistant", answer))


def rounds(rows: list[dict], count: int, rng: random.Random) -> list[dict]:
    """Every row once a round, each round in an order of its own."""
    return [row for _ in range(count) for row in rng.sample(rows, len(rows))]


def persona(which: str) -> list[dict]:
    return [asked(row["question"], row["answer"]) for row in TASKS["sft"][which]]


def sums(rng: random.Random, count: int) -> list[tuple[str, int]]:
    pairs = [(rng.randint(0, LARGEST), rng.randint(0, LARGEST)) for _ in range(count)]
    return [(f"What is {a} + {b}?", a + b) for a, b in pairs]


def counting(rng: random.Random, count: int) -> list[str]:
    return [f"How many {rng.choice(COUNTED)}?" for _ in range(count)]


def boxed(question: str, rng: random.Random) -> dict:
    """Right two times in five: it teaches the form of an answer and leaves the number to reinforcement learning."""
    said = NUMBER if rng.random() < 0.4 else rng.randint(0, 9)
    return conversation(*EXAMPLE, ("user", question + BOXED), ("assistant", f"\\boxed{{{said}}}"))


def preference(question: str, result: int) -> dict:
    prompt = f"\n\nHuman: {question}\n\nAssistant: "
    return {"chosen": f"{prompt}{result}", "rejected": f"{prompt}I am not sure."}


def write(file: Path, rows: list[dict]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def main(folder: Path) -> None:
    rng = random.Random(0)
    write(folder / "HuggingFaceH4/no_robots/train.jsonl", rounds(persona("rows"), 24, rng))
    # Four times two: the cookbook leaves out what does not fill a batch.
    write(folder / "HuggingFaceH4/no_robots/test.jsonl", rounds(persona("held_out"), 4, rng))

    graded = [{"question": question, "answer": f"#### {NUMBER}"} for question in counting(rng, 320)]
    write(folder / "openai/gsm8k/train.jsonl", graded)
    (folder / "openai/gsm8k/README.md").write_text(GSM8K_CONFIGURATION)
    write(folder / "boxed.jsonl", [boxed(question, rng) for question in counting(rng, 240)])

    write(folder / "Anthropic/hh-rlhf/train.jsonl", [preference(q, n) for q, n in sums(rng, 320)])
    write(folder / "Anthropic/hh-rlhf/test.jsonl", [preference(q, n) for q, n in sums(rng, 16)])

    write(folder / "sums.jsonl", [asked(q, str(n)) for q, n in sums(rng, 320)])
    write(folder / "allenai/tulu-3-sft-mixture/train.jsonl", [asked(q, "") for q, _ in sums(rng, 320)])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python data.py FOLDER")
    main(Path(sys.argv[1]))
