"""Fine-tuning for function calls: the calls of OpenAI's notebook "Fine tuning for function calling".

The base model is asked; a training file of requests and calls is uploaded; a job is created; the fine-tuned model is
asked the same. Then both are measured on held-out requests, commands and out-of-scope ones, with the definitions of
the functions in full, slim (without descriptions) and not at all. The notebook had a larger model write its data; here
a generator does: drone_data.py.
"""

import json
from collections import Counter
from typing import Any, NamedTuple

from openai import OpenAI
from openai.types.chat import ChatCompletionMessage

import drone_data
import steps

MODEL = "gpt-3.5-turbo"
DEFINITIONS: dict[str, list[dict[str, Any]] | None] = {
    "full": drone_data.TOOLS,
    "slim": drone_data.slim(drone_data.TOOLS),
    "none": None,
}
STRAIGHTFORWARD = ["Land the drone at the base", "Take off to 50 metres", "Change speed to 15 kilometres per hour"]
IMPOSSIBLE = ["Turn into an elephant!", "Move those clouds away", "Order a pizza for tonight"]


class Asker(NamedTuple):
    """One model, asked with one kind of definitions."""

    client: OpenAI
    model: str
    definitions: str
    max_tokens: int

    def message(self, text: str) -> ChatCompletionMessage:
        tools = DEFINITIONS[self.definitions]
        options: dict[str, Any] = {"tools": tools, "tool_choice": "required"} if tools else {}
        completion = self.client.chat.completions.create(
            model=self.model,
            messages=drone_data.messages(text),  # type: ignore[arg-type]
            max_tokens=self.max_tokens,
            temperature=0.0,
            stop=None,
            seed=1,
            **options,
        )
        return completion.choices[0].message

    def call(self, request: drone_data.Request) -> tuple[str, Any]:
        """Name and arguments of the first call; the name is empty where the answer is in words."""
        calls = self.message(request.text).tool_calls
        if not calls or calls[0].type != "function":
            return "", None
        try:
            return calls[0].function.name, json.loads(calls[0].function.arguments)
        except json.JSONDecodeError:  # cut off by max_tokens
            return calls[0].function.name, None


def show(asker: Asker) -> None:
    """The notebook's first look: a handful of requests and what comes back."""
    for text in STRAIGHTFORWARD + IMPOSSIBLE:
        message = asker.message(text)
        calls = [f"{call.function.name}({call.function.arguments})" for call in message.tool_calls or []]  # type: ignore[union-attr]
        print(f"  {text}  ->  {'; '.join(calls) or repr((message.content or '')[:60])}", flush=True)


def measure(asker: Asker, seed: int, limit: int) -> Counter[str]:
    """Prints one line for each form and kind of request; returns what reject_request was said for."""
    swallowed: Counter[str] = Counter()
    for form in ("imperative", "question"):
        commands, rejects = drone_data.held_out_requests(form, seed)  # type: ignore[arg-type]
        commands, rejects = commands[:limit], rejects[:limit]
        answers = steps.ask_all(asker.call, commands)
        right = sum((name, values) == request[1:] for (name, values), request in zip(answers, commands, strict=True))
        for (name, _), request in zip(answers, commands, strict=True):
            swallowed[request.name] += name == "reject_request"
        refused = sum(name == "reject_request" for name, _ in answers)
        rejected = sum(name == "reject_request" for name, _ in steps.ask_all(asker.call, rejects))
        print(
            f"  {asker.definitions:5} {form:10}  commands right {steps.rate(right, len(commands)):22}"
            f" (rejected: {refused:2})   out of scope rejected {steps.rate(rejected, len(rejects))}",
            flush=True,
        )
    return +swallowed


def main(argv: list[str] | None = None) -> str:
    parser = steps.parser(__doc__ or "")
    parser.add_argument("--forms", choices=["split", "mixed"], default="split", help="see drone_data.py")
    parser.add_argument("--epochs", type=int, help="(default: auto, as in the notebook)")
    parser.add_argument("--batch-size", type=int, help="(default: auto, as in the notebook)")
    parser.add_argument("--model", help="measure this fine-tuned model and train none")
    parser.add_argument("--no-base", action="store_true", help="leave out the base model's measurement")
    chosen = parser.parse_args(argv)
    client = OpenAI(timeout=1800)
    limit, max_tokens = (1, 16) if chosen.quick else (30, 80)

    print(f"1. {MODEL} before training")
    show(Asker(client, MODEL, "full", max_tokens))

    print(f"2. Data: 16 functions, forms {chosen.forms}")
    requests = drone_data.training_requests(chosen.forms, chosen.seed)
    rejects = sum(request.name == "reject_request" for request in requests)
    print(f"  {len(requests) - rejects} commands, {rejects} out of scope")
    if chosen.quick:
        requests = requests[:10]

    model = chosen.model
    if model is None:
        print("3. Upload, create the job, wait")
        examples = [drone_data.example(request, number) for number, request in enumerate(requests)]
        file_id = steps.upload(client, examples, f"drone_{chosen.forms}.jsonl")
        job = client.fine_tuning.jobs.create(
            model=MODEL,
            training_file=file_id,
            seed=chosen.seed,
            suffix=f"drone-{chosen.forms}",
            method={
                "type": "supervised",
                "supervised": {
                    "hyperparameters": {
                        "n_epochs": 1 if chosen.quick else chosen.epochs or "auto",
                        "batch_size": chosen.batch_size or "auto",
                    }
                },
            },
        )
        model = steps.wait(client, job).fine_tuned_model or ""

    print(f"4. {model} after training")
    show(Asker(client, model, "full", max_tokens))

    print("5. Held-out requests: hits/n, percent [95 % interval]")
    for name in [model] if chosen.no_base else [MODEL, model]:
        print(f" {name}")
        swallowed: Counter[str] = Counter()
        for definitions in DEFINITIONS:
            swallowed += measure(Asker(client, name, definitions, max_tokens), chosen.seed + 1, limit)
        if swallowed:
            listing = ", ".join(f"{function} {count}" for function, count in swallowed.most_common(6))
            print(f"  reject_request was called for commands of: {listing}")
    return model


if __name__ == "__main__":
    main()
