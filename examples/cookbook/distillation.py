"""Distillation from stored completions: the calls of OpenAI's notebook "Leveraging model distillation".

A teacher says which cheese a tasting note is about; its answers are constrained to the list by structured outputs and
stored with metadata. They are listed by that metadata, become a training file, and a student is trained on it. The
notebook does the last two steps in OpenAI's dashboard; here the API does them.

Unless --teacher names one, the script makes its own: a model that is first fine-tuned on labelled notes.
"""

import json
import random
from itertools import permutations
from typing import Any

from openai import OpenAI

import steps

TEACHER, STUDENT = "gpt-4o", "gpt-4o-mini"
SYSTEM = "You know all about cheese. Answer with the name of the cheese alone."

# CC0, written for this project: what each cheese is like.
CHEESES: dict[str, tuple[str, ...]] = {
    "Camembert": ("a soft white rind", "a scent of mushrooms", "a runny heart", "from Normandy"),
    "Roquefort": ("blue veins", "a sharp salty bite", "ripened in caves", "made of ewe's milk"),
    "Emmental": ("large round holes", "a nutty sweetness", "from the Swiss valleys", "a mild hard slice"),
    "Feta": ("brine all around it", "a crumbly white block", "good on olives and tomatoes", "from Greece"),
    "Parmesan": ("crystals that crunch", "grated over pasta", "aged for two years", "from around Parma"),
    "Mozzarella": ("stretched by hand", "a milky ball in water", "melting on pizza", "of buffalo milk at its best"),
    "Gouda": ("a yellow wax coat", "caramel when it is old", "wheels from Holland", "sliced on breakfast bread"),
    "Ricotta": ("made of whey", "spooned into ravioli", "grainy and mild", "fresh and sweet on toast"),
}
OPENINGS = ("The sample has", "Our guests noticed", "I wrote down", "On the plate:", "What stays is")
SCHEMA: Any = {
    "type": "json_schema",
    "json_schema": {
        "name": "cheese-name",
        "schema": {
            "type": "object",
            "properties": {"cheese": {"type": "string", "enum": list(CHEESES)}},
            "additionalProperties": False,
            "required": ["cheese"],
        },
        "strict": True,
    },
}


def notes(seed: int, count: int) -> list[tuple[str, str]]:
    """Tasting notes, each with its cheese; no two are the same."""
    every = [
        (f"{opening} {first}, {second}.", name)
        for name, traits in CHEESES.items()
        for opening in OPENINGS
        for first, second in permutations(traits, 2)
    ]
    return random.Random(seed).sample(every, count)


def messages(note: str) -> list[Any]:
    question = f"Which cheese is this tasting note about? Choose from: {', '.join(CHEESES)}.\n\n{note}"
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]


def ask(client: OpenAI, model: str, note: str, tag: str) -> str:
    completion = client.chat.completions.create(
        model=model,
        store=True,
        metadata={"distillation": tag},
        messages=messages(note),
        temperature=0,
        response_format=SCHEMA,
    )
    return str(json.loads(completion.choices[0].message.content or "{}").get("cheese"))


def measure(client: OpenAI, model: str, questions: list[tuple[str, str]], tag: str) -> list[str]:
    """Prints how many answers are right; returns the answers."""
    answers = steps.ask_all(lambda question: ask(client, model, question[0], tag), questions)
    right = sum(answer == name for answer, (_, name) in zip(answers, questions, strict=True))
    print(f"  {model}: right {steps.rate(right, len(questions))}", flush=True)
    return answers


def stored_examples(client: OpenAI, model: str, tag: str) -> list[dict[str, Any]]:
    """The stored completions with this tag as lines of a training file."""
    lines = []
    for completion in client.chat.completions.list(model=model, metadata={"distillation": tag}, limit=100):
        question = [
            {"role": message.role, "content": message.content}
            for message in client.chat.completions.messages.list(completion.id)
        ]
        answer = {"role": "assistant", "content": completion.choices[0].message.content}
        lines.append({"messages": [*question, answer]})
    return lines


def train(client: OpenAI, base: str, examples: list[dict[str, Any]], name: str, seed: int, quick: bool) -> str:
    file_id = steps.upload(client, examples, f"{name}.jsonl")
    job = client.fine_tuning.jobs.create(
        model=base,
        training_file=file_id,
        suffix=name,
        seed=seed,
        hyperparameters={"n_epochs": 1 if quick else "auto"},
    )
    return steps.wait(client, job).fine_tuned_model or ""


def main(argv: list[str] | None = None) -> str:
    parser = steps.parser(__doc__ or "")
    parser.add_argument("--teacher", help=f"a model of the server, such as {TEACHER}, and make none")
    chosen = parser.parse_args(argv)
    client = OpenAI(timeout=1800)
    labelled, unlabelled, test = (12, 10, 2) if chosen.quick else (32, 40, 24)
    tag = f"cheese-distillation-{chosen.seed}"
    every = notes(chosen.seed, labelled + unlabelled + test)
    labelled_notes, unlabelled_notes, questions = every[:labelled], every[labelled:-test], every[-test:]

    teacher = chosen.teacher
    if teacher is None:
        print(f"1. A teacher, fine-tuned on {labelled} labelled notes")
        lines = [
            {"messages": [*messages(note), {"role": "assistant", "content": json.dumps({"cheese": name})}]}
            for note, name in labelled_notes
        ]
        teacher = train(client, TEACHER, lines, "cheese-teacher", chosen.seed, chosen.quick)

    print(f"2. {teacher} answers {unlabelled} notes, stored with the metadata distillation={tag}")
    steps.ask_all(lambda question: ask(client, teacher, question[0], tag), unlabelled_notes)

    print("3. List by metadata, export, train the student")
    examples = stored_examples(client, teacher, tag)
    print(f"  {len(examples)} stored completions, for instance {examples[0]['messages'][-1]['content']}")
    student = train(client, STUDENT, examples, "cheese-student", chosen.seed, chosen.quick)

    print("4. Notes that nobody trained on")
    _, taught, learnt = (measure(client, model, questions, f"{tag}-test") for model in (STUDENT, teacher, student))
    alike = sum(first == second for first, second in zip(taught, learnt, strict=True))
    print(f"  the student says what the teacher says: {steps.rate(alike, len(questions))}")
    return student


if __name__ == "__main__":
    main()
