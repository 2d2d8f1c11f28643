"""Reinforcement fine-tuning: the calls of OpenAI's notebook on it, up to the job, which is refused.

Items with a reference answer are put to the base model, a grader is validated and run on each answer, training and
test items are uploaded, and a job with the method `reinforcement` is requested. Luthier has no such training, and the
error says so.
"""

from typing import Any

from openai import BadRequestError, OpenAI

import steps

MODEL = "o4-mini-2025-04-16"
BASE = "gpt-4.1-mini"  # answers here: the notebook asks the reasoning model, which is refused for training below
SYSTEM = "Answer with the name of the rule that the puzzle breaks."

# CC0, written for this project: short puzzles of a board game, and what a referee would say.
PUZZLES = [
    ("A bishop goes from c1 to c4.", "bishops move diagonally"),
    ("A knight goes from b1 to b3.", "knights move in an L"),
    ("White castles although the king stands in check.", "no castling out of check"),
    ("A pawn on e4 takes a piece on e5.", "pawns capture diagonally"),
    ("Black moves twice in a row.", "players take turns"),
    ("A rook jumps over its own pawn.", "rooks do not jump"),
    ("The king moves next to the other king.", "kings keep apart"),
    ("A pawn moves back from d5 to d4.", "pawns do not move back"),
    ("A queen goes from d1 to e3.", "queens do not move like knights"),
    ("A player leaves the own king in check.", "the king must leave check"),
    ("A pawn on the last rank stays a pawn.", "pawns must promote"),
    ("Castling after the rook has moved and come back.", "no castling with a moved rook"),
]
GRADER: dict[str, Any] = {
    "type": "text_similarity",
    "name": "near the reference",
    "input": "{{sample.output_text}}",
    "reference": "{{item.reference_answer}}",
    "evaluation_metric": "fuzzy_match",
}


def items() -> list[dict[str, Any]]:
    return [
        {
            "messages": [{"role": "user", "content": f"{SYSTEM}\n\n{puzzle}"}],
            "reference_answer": answer,
        }
        for puzzle, answer in PUZZLES
    ]


def main(argv: list[str] | None = None) -> str:
    chosen = steps.parser(__doc__ or "").parse_args(argv)
    client = OpenAI(timeout=1800)
    lines = items()
    train, test = lines[:8], lines[8:]

    print(f"1. {BASE} answers, graded")
    print(f"  the grader is valid: {client.fine_tuning.alpha.graders.validate(grader=GRADER).grader is not None}")  # type: ignore[arg-type]
    for line in test[: 1 if chosen.quick else None]:
        completion = client.chat.completions.create(
            model=BASE, messages=line["messages"], temperature=0, max_tokens=8 if chosen.quick else 40
        )
        text = completion.choices[0].message.content or ""
        run = client.fine_tuning.alpha.graders.run(
            grader=GRADER,  # type: ignore[arg-type]
            model_sample=text,
            item={"reference_answer": line["reference_answer"]},
        )
        print(f"  {run.reward:.2f}  {text[:80]!r}  (reference: {line['reference_answer']})", flush=True)

    print("2. Upload, and ask for the job")
    training_file = steps.upload(client, train, "reinforcement_train.jsonl")
    validation_file = steps.upload(client, test, "reinforcement_test.jsonl")
    try:
        client.fine_tuning.jobs.create(
            training_file=training_file,
            validation_file=validation_file,
            model=MODEL,
            suffix="referee",
            method={
                "type": "reinforcement",
                "reinforcement": {
                    "grader": GRADER,  # type: ignore[typeddict-item]
                    "hyperparameters": {"reasoning_effort": "medium", "n_epochs": 5, "eval_samples": 2},
                },
            },
        )
    except BadRequestError as error:
        message = str(error.body["message"]) if isinstance(error.body, dict) else str(error)
        print(f"  refused: {message}")
        return message
    raise SystemExit("The job was created, which docs/cookbook.md does not know of")


if __name__ == "__main__":
    main()
