"""Direct preference optimization: the calls of OpenAI's guide to DPO.

A shop's assistant is to answer warmly. Answers of the base model are graded, pairs of a warm and a curt answer are
uploaded, a job with the method `dpo` is created with the guide's hyperparameters, and the new answers are graded.
The guide lets a larger model write the pairs through the Responses API and grades by an evaluation of its Evals API.
These pairs are written by hand, answers come from chat completions, grades from the graders
API.
"""

import json
import random
from pathlib import Path
from typing import Any

from openai import OpenAI

import steps

MODEL = "gpt-4.1-mini-2025-04-14"
SYSTEM = "You are a customer-support assistant."

# CC0, written for this project. Each line: a question, what to do about it in a curt answer, the same in a warm one.
CASES = Path(__file__).with_name("preferences.jsonl")
OPENINGS = ("Hi there, thanks for asking!", "Oh, great question!", "Hello and welcome!", "Thank you for reaching out!")
CLOSINGS = ("Have a wonderful day!", "We are always here for you!", "Big smiles from all of us!", "Enjoy!")

# A reply is warm when it has an exclamation mark and at least one of these words.
WARM_WORDS = ("happy", "glad", "thank", "welcome", "love", "wonderful", "great", "enjoy")
GRADER: dict[str, Any] = {
    "type": "multi",
    "name": "warmth",
    "graders": {
        word: {
            "type": "string_check",
            "name": word,
            "input": "{{sample.output_text}}",
            "reference": reference,
            "operation": "ilike",
        }
        for word, reference in (("exclaims", "!"), *((word, word) for word in WARM_WORDS))
    },
    "calculate_output": f"exclaims * min(1, {' + '.join(WARM_WORDS)})",
}


def messages(question: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]


def pairs(seed: int) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    lines = []
    cases = [json.loads(line) for line in CASES.read_text(encoding="utf-8").splitlines()]
    for case in rng.sample(cases, len(cases)):
        warm = case["warm"]
        friendly = f"{rng.choice(OPENINGS)} {warm[0].upper()}{warm[1:]}. {rng.choice(CLOSINGS)}"
        lines.append(
            {
                "input": {"messages": messages(case["question"])},
                "preferred_output": [{"role": "assistant", "content": friendly}],
                "non_preferred_output": [{"role": "assistant", "content": case["curt"]}],
            }
        )
    return lines


def measure(client: OpenAI, model: str, questions: list[str], max_tokens: int) -> None:
    """The guide's "generate responses, then grade them"."""

    def answer(question: str) -> str:
        completion = client.chat.completions.create(
            model=model,
            messages=messages(question),  # type: ignore[arg-type]
            temperature=0.0,
            max_tokens=max_tokens,
        )
        return completion.choices[0].message.content or ""

    def grade(text: str) -> float:
        return client.fine_tuning.alpha.graders.run(grader=GRADER, model_sample=text).reward  # type: ignore[arg-type]

    answers = steps.ask_all(answer, questions)
    warm = sum(round(reward) for reward in steps.ask_all(grade, answers))
    print(f"  {model}: warm {steps.rate(warm, len(answers))}, {sum(map(len, answers)) // len(answers)} characters each")
    for question, text in list(zip(questions, answers, strict=True))[:3]:
        print(f"    {question}  ->  {text[:110]!r}", flush=True)


def main(argv: list[str] | None = None) -> str:
    parser = steps.parser(__doc__ or "")
    parser.add_argument("--epochs", type=int, default=2, help="(default: the guide's 2)")
    parser.add_argument("--batch-size", default=8, help="a number or auto (default: the guide's 8)")
    chosen = parser.parse_args(argv)
    client = OpenAI(timeout=1800)
    max_tokens, question_count, epochs = (8, 2, 1) if chosen.quick else (80, 8, chosen.epochs)
    batch_size: Any = chosen.batch_size if chosen.batch_size == "auto" else int(chosen.batch_size)
    examples = pairs(chosen.seed)
    train, valid, test = examples[:28], examples[28:32], examples[32:]
    questions = [pair["input"]["messages"][1]["content"] for pair in test][:question_count]

    print("1. The base model's answers, graded")
    client.fine_tuning.alpha.graders.validate(grader=GRADER)  # type: ignore[arg-type]
    measure(client, MODEL, questions, max_tokens)

    print(f"2. Upload {len(train)} pairs, and {len(valid)} for validation")
    training_file = steps.upload(client, train, "train.jsonl")
    validation_file = steps.upload(client, valid, "validation.jsonl")

    print("3. Create the job and wait")
    job = client.fine_tuning.jobs.create(
        training_file=training_file,
        validation_file=validation_file,
        model=MODEL,
        seed=chosen.seed,
        method={
            "type": "dpo",
            "dpo": {"hyperparameters": {"n_epochs": epochs, "beta": 0.1, "batch_size": batch_size}},
        },
    )
    model = steps.wait(client, job).fine_tuned_model or ""

    print("4. The fine-tuned model's answers, graded")
    measure(client, model, questions, max_tokens)
    return model


if __name__ == "__main__":
    main()
