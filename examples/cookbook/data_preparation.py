"""Checks and token counts before an upload: what OpenAI's notebook "Chat fine-tuning data prep" computes.

The notebook makes no request. Here the data, questions with sarcastic answers, go through its checks; then a job is
created with everything at `auto`, and its number of epochs is compared with the notebook's rule.
"""

from collections import Counter
from collections.abc import Callable
from statistics import mean, median
from typing import Any

from openai import OpenAI

import steps

MODEL = "gpt-3.5-turbo"
MAX_TOKENS_PER_EXAMPLE = 16_385
ROLES = ("system", "user", "assistant", "function")
KEYS = ("role", "content", "name", "function_call", "weight")
SYSTEM = "You are Nora, who is helpful and sarcastic at once."

# CC0, written for this project.
ANSWERS = {
    "What is the capital of Norway?": "Oslo. A secret so well kept that it is printed on every map.",
    "How many days does a week have?": "Seven, and it has been for a while. Hard to keep up, I know.",
    "Who painted the Mona Lisa?": "Leonardo da Vinci. You may have heard of him, he dabbled.",
    "Is the Earth flat?": "Of course, and ships fall off the edge every Tuesday. No, it is round.",
    "What is 7 times 8?": "56. I will tell your teacher that you asked.",
    "What colour is the sky?": "Blue on a clear day. Looking up is free, by the way.",
    "Who wrote Hamlet?": "Shakespeare, in between his other little hits.",
    "How far away is the moon?": "Some 384,000 kilometres. Bring a snack.",
    "What do bees make?": "Honey, and a point when you annoy them.",
    "How do I boil an egg?": "Water, heat, egg, ten minutes. Michelin will be in touch.",
    "What is the largest ocean?": "The Pacific. It is hard to miss, being a third of the planet.",
    "What is the opposite of hot?": "Cold. Take your time, it is a big thought.",
    "How many legs does a spider have?": "Eight, all of them coming towards you.",
    "When did the first world war begin?": "In 1914. Nobody asked me, or it would not have.",
    "Do fish sleep?": "They do, with open eyes, like you in meetings.",
    "What is water made of?": "Hydrogen and oxygen. Two of the one, one of the other, no sugar.",
    "Which planet is the largest?": "Jupiter, and it does not stop bragging about it.",
    "Who invented the telephone?": "Bell got the patent, and we all got the spam calls.",
    "What is the longest river?": "The Nile or the Amazon; two continents are still arguing.",
    "Can pigs fly?": "Only when your tax return is on time.",
    "What is the boiling point of water?": "100 degrees Celsius at sea level. You could have waited for the bubbles.",
    "How many continents are there?": "Seven, last time somebody bothered to count.",
    "What language do they speak in Brazil?": "Portuguese. Yes, really, not Brazilian.",
    "Why is the sea salty?": "Rivers bring the salt and never take it home again. Rude.",
}


def dataset() -> list[dict[str, Any]]:
    return [
        {
            "messages": [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": question},
                {"role": "assistant", "content": answer},
            ]
        }
        for question, answer in ANSWERS.items()
    ]


def faulty_dataset() -> list[dict[str, Any]]:
    """Two sound examples and one of each fault that the notebook looks for."""
    sound = dataset()[:2]
    system, user, assistant = sound[0]["messages"]
    return [
        *sound,
        {"conversation": [user, assistant]},
        {"messages": [system, user]},
        {"messages": [system, assistant]},
        {"messages": [user, {"role": "bot", "content": "Oslo."}, assistant]},
        {"messages": [system, user, {"role": "assistant", "content": "", "mood": "sour"}]},
        {"messages": [system, user, {"role": "assistant", "content": "And another thing. " * 5000}]},
    ]


def format_errors(examples: list[Any]) -> Counter[str]:
    """The notebook's checks, by its names."""
    errors: Counter[str] = Counter()
    for example in examples:
        messages = example.get("messages") if isinstance(example, dict) else None
        if not messages:
            errors["missing_messages_list" if isinstance(example, dict) else "data_type"] += 1
            continue
        for message in messages:
            errors["message_missing_key"] += not {"role", "content"} <= set(message)
            errors["message_unrecognized_key"] += any(key not in KEYS for key in message)
            errors["unrecognized_role"] += message.get("role") not in ROLES
            errors["missing_content"] += not (message.get("content") or message.get("function_call"))
        errors["example_missing_assistant_message"] += all(message.get("role") != "assistant" for message in messages)
    return +errors


def counter() -> tuple[str, Callable[[str], int]]:
    """Counts the tokens of a text by OpenAI's vocabulary, or says that it only estimates them."""
    try:
        from bpe_openai import get_encoding
    except ImportError:
        return (
            "a quarter of the characters (bpe-openai, which counts them, is not installed)",
            lambda text: len(text) // 4,
        )
    encoding = get_encoding("cl100k_base")
    return "OpenAI's cl100k_base", lambda text: len(encoding.encode(text))


def conversation_tokens(messages: list[dict[str, Any]], count: Callable[[str], int]) -> int:
    """The notebook's formula: three tokens around each message, and three for the answer's beginning."""
    return 3 + sum(3 + sum(count(str(value)) for value in message.values()) for message in messages)


def default_epochs(examples: int) -> int:
    """The notebook's rule: three, unless that makes fewer than 100 or more than 25,000 examples in all."""
    if examples * 3 < 100:
        return min(25, 100 // examples)
    if examples * 3 > 25_000:
        return max(1, 25_000 // examples)
    return 3


def describe(values: list[int], name: str) -> None:
    print(f"  {name}: min {min(values)}, median {median(values):g}, mean {mean(values):.1f}, max {max(values)}")


def analyse(examples: list[dict[str, Any]], count: Callable[[str], int]) -> int:
    """Prints the notebook's warnings and distributions; returns the tokens that are charged for in one epoch."""
    conversations = [example["messages"] for example in examples if example.get("messages")]
    for role in ("system", "user"):
        missing = sum(all(message["role"] != role for message in messages) for messages in conversations)
        print(f"  examples without a {role} message: {missing}")
    lengths = [conversation_tokens(messages, count) for messages in conversations]
    describe([len(messages) for messages in conversations], "messages per example")
    describe(lengths, "tokens per example")
    print(f"  examples over {MAX_TOKENS_PER_EXAMPLE:,} tokens: {sum(n > MAX_TOKENS_PER_EXAMPLE for n in lengths)}")
    return sum(min(n, MAX_TOKENS_PER_EXAMPLE) for n in lengths)


def main(argv: list[str] | None = None) -> int:
    chosen = steps.parser(__doc__ or "").parse_args(argv)
    name, count = counter()
    examples = dataset()

    print(f"1. A file with faults; tokens counted by {name}")
    print(f"  errors: {dict(format_errors(faulty_dataset()))}")
    analyse(faulty_dataset(), count)

    print(f"2. The sound file: {len(examples)} examples")
    print(f"  errors: {dict(format_errors(examples)) or 'none'}")
    tokens, epochs = analyse(examples, count), default_epochs(len(examples))
    print(f"  by the notebook's rule {epochs} epochs, some {epochs * tokens:,} tokens charged for")
    if chosen.quick:
        return epochs

    client = OpenAI(timeout=1800)
    print("  the same by a job with everything at auto:")
    training_file = steps.upload(client, examples, "sarcasm.jsonl")
    job = client.fine_tuning.jobs.create(model=MODEL, training_file=training_file, seed=chosen.seed)
    job = steps.wait(client, job)
    print(f"  {job.hyperparameters.n_epochs} epochs, {job.trained_tokens:,} tokens")
    for question in ("What is the capital of Sweden?", "How many legs does a dog have?"):
        completion = client.chat.completions.create(
            model=job.fine_tuned_model or "",
            messages=[{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}],
            temperature=0,
            max_tokens=60,
        )
        print(f"  {question}  ->  {completion.choices[0].message.content}")
    return epochs


if __name__ == "__main__":
    main()
