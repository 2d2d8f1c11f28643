"""Classification with a legacy model: the calls of OpenAI's notebook "Fine-tuned classification", with babbage-002.

Posts to two mailing lists, on hockey and on baseball, become pairs of prompt and completion. What the former
`openai tools fine_tunes.prepare_data` did is done here: a separator after the prompt, a space before the completion,
and a split. Then files, job, result file and completions with log-probabilities.
"""

import csv
import io
import random
from typing import Any

from openai import OpenAI

import steps

MODEL = "babbage-002"
SEPARATOR = "\n\n###\n\n"

# CC0, written for this project.
WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "hockey": {
        "team": ("the Ice Owls", "the Harbour Seals", "the Frost Giants", "the North Stars of Elk Bay"),
        "subject": (
            "the power play",
            "our goalie",
            "overtime last night",
            "the trade for a defenseman",
            "line changes",
        ),
        "event": (
            "scored shorthanded in the third period",
            "spent ten minutes in the penalty box",
            "pulled the goalie with a minute left",
            "hit the post twice and lost the puck at the blue line",
            "won the face-off and the game with a slap shot",
            "could not clear the puck out of their own zone",
        ),
        "opinion": (
            "That goalie stops everything he sees.",
            "Somebody teach them to forecheck.",
            "The ice was soft again in the second period.",
            "A hat trick, and the caps flew.",
        ),
    },
    "baseball": {
        "team": ("the River Cats of Dunmore", "the Copper Kings", "the Mudville Nine", "the Lake Herons"),
        "subject": ("the bullpen", "our shortstop", "extra innings last night", "the new pitcher", "the batting order"),
        "event": (
            "left the bases loaded in the ninth inning",
            "hit a home run over the left-field wall",
            "walked three batters in a row",
            "was thrown out stealing second base",
            "struck out twice on the same slider",
            "turned a double play to end the inning",
        ),
        "opinion": (
            "That umpire's strike zone moves with the wind.",
            "Somebody warm up the bullpen earlier.",
            "His curveball hangs like laundry.",
            "A no-hitter through seven, and then that.",
        ),
    },
}
NAMES = ("Ann Odum", "Ben Carver", "Chi Lam", "Dora Fine", "Emil Stark", "Fay Moor", "Gus Hale", "Ida Bloom")
OPENINGS = ("Well,", "I was there:", "For the record,", "Did you see it?", "As I wrote before,", "Honestly,")


def post(sport: str, rng: random.Random) -> dict[str, str]:
    """A prompt without its separator, and the sport."""
    words = {kind: rng.choice(choices) for kind, choices in WORDS[sport].items()}
    name = rng.choice(NAMES)
    text = (
        f"From: {name.split()[0].lower()}@mail.example ({name})\n"
        f"Subject: Re: {words['subject']}\nLines: {rng.randint(3, 40)}\n\n"
        f"{rng.choice(OPENINGS)} {words['team']} {words['event']}. {words['opinion']}\n-- \n{name}"
    )
    return {"prompt": text, "completion": sport}


def posts(seed: int, count: int) -> list[dict[str, str]]:
    rng = random.Random(seed)
    return [post(("hockey", "baseball")[number % 2], rng) for number in range(count)]


def prepare(examples: list[dict[str, str]]) -> list[dict[str, str]]:
    """What the data preparation tool did with such a file."""
    return [{"prompt": line["prompt"] + SEPARATOR, "completion": " " + line["completion"]} for line in examples]


def last_metrics(content: str) -> dict[str, str]:
    """The last row of the result file that has a training accuracy; the file is plain CSV, as pandas reads it."""
    rows = [row for row in csv.DictReader(io.StringIO(content)) if row["train_accuracy"]]
    return rows[-1]


def predict(client: OpenAI, model: str, prompt: str, **options: Any) -> Any:
    return client.completions.create(model=model, prompt=prompt, max_tokens=1, temperature=0, **options).choices[0]


def measure(client: OpenAI, model: str, examples: list[dict[str, str]]) -> None:
    texts = steps.ask_all(lambda example: predict(client, model, example["prompt"]).text, examples)
    right = sum(text == example["completion"] for text, example in zip(texts, examples, strict=True))
    print(f"  {model}: right {steps.rate(right, len(examples))}, for instance {texts[0]!r}", flush=True)


def main(argv: list[str] | None = None) -> str:
    chosen = steps.parser(__doc__ or "").parse_args(argv)
    client = OpenAI(timeout=1800)
    count, test_count = (12, 2) if chosen.quick else (60, 40)
    examples = prepare(posts(chosen.seed, count))
    valid = examples[: count // 5]

    print(f"1. {count} posts, {len(valid)} of them for validation")
    validation_file = steps.upload(client, valid, "sport2_prepared_valid.jsonl")
    training_file = steps.upload(client, examples[len(valid) :], "sport2_prepared_train.jsonl")

    print("2. Create the job and wait")
    job = client.fine_tuning.jobs.create(
        training_file=training_file,
        validation_file=validation_file,
        model=MODEL,
        seed=chosen.seed,
        hyperparameters={"n_epochs": 1 if chosen.quick else "auto"},
    )
    job = steps.wait(client, job)
    model = job.fine_tuned_model or ""

    print("3. The result file")
    metrics = last_metrics(client.files.content(job.result_files[0]).read().decode())
    print(f"  {metrics}")

    print("4. Completions for posts that are in no file")
    for name in (MODEL, model):
        measure(client, name, prepare(posts(chosen.seed + 1, test_count)))
    choice = predict(client, model, valid[0]["prompt"], logprobs=2)
    print(f"  log-probabilities of the first: {choice.logprobs.top_logprobs[0]}")
    for text in (
        "RT @icefan: what a save with two seconds on the clock, and off the crossbar!",
        "BREAKING: the Herons sign a left-handed pitcher with a nasty curveball",
    ):
        print(f"  {text}  ->  {predict(client, model, text + SEPARATOR).text!r}")
    return model


if __name__ == "__main__":
    main()
