"""Fine-tuning a chat model: the calls of OpenAI's notebook "How to fine-tune chat models".

Recipes are turned into lists of their generic ingredients. Training and validation file are uploaded, a job is created,
its events are listed, and the fine-tuned model reads recipes that it never saw.
"""

import json
import random
from typing import Any

from openai import OpenAI

import steps

MODEL = "gpt-3.5-turbo"
SYSTEM = "You help with recipes. Name the generic ingredients of each recipe."

# CC0, written for this project: what a recipe calls an ingredient, and the ingredient. The last ten are never trained.
INGREDIENTS = [
    ("large eggs", "eggs"),
    ("unsalted butter, melted", "butter"),
    ("packed brown sugar", "brown sugar"),
    ("all-purpose flour, sifted", "flour"),
    ("fresh basil leaves, torn", "basil"),
    ("ripe tomatoes, chopped", "tomatoes"),
    ("boneless chicken breasts", "chicken breasts"),
    ("low-fat milk", "milk"),
    ("pure vanilla extract", "vanilla"),
    ("grated sharp Cheddar cheese", "Cheddar cheese"),
    ("garlic cloves, crushed", "garlic"),
    ("red onion, finely sliced", "red onion"),
    ("cooked long-grain rice", "rice"),
    ("extra-virgin olive oil", "olive oil"),
    ("canned black beans, drained", "black beans"),
    ("frozen peas, thawed", "peas"),
    ("toasted walnuts, broken", "walnuts"),
    ("freshly squeezed lemon juice", "lemon juice"),
    ("whole-wheat bread crumbs", "bread crumbs"),
    ("smoked bacon, diced", "bacon"),
    ("baby carrots, halved", "carrots"),
    ("heavy cream, whipped", "cream"),
    ("ground cinnamon", "cinnamon"),
    ("plain Greek yogurt", "yogurt"),
    ("dark chocolate, in pieces", "dark chocolate"),
    ("baking powder", "baking powder"),
    ("dried oregano", "oregano"),
    ("celery stalks, cut up", "celery"),
    ("sliced mushrooms", "mushrooms"),
    ("runny honey", "honey"),
    ("roasted peanuts, chopped", "peanuts"),
    ("shredded red cabbage", "red cabbage"),
    ("small zucchini, grated", "zucchini"),
    ("fresh ginger, peeled", "ginger"),
    ("white wine vinegar", "wine vinegar"),
    ("cold water", "water"),
    ("lean ground beef", "ground beef"),
    ("fine sea salt", "salt"),
    ("ripe bananas, mashed", "bananas"),
    ("dry lentils, rinsed", "lentils"),
]
HELD_OUT_INGREDIENTS = 10
AMOUNTS = ("1 c.", "2 c.", "1/2 c.", "3 Tbsp.", "1 tsp.", "1/4 tsp.", "2 lb.", "8 oz.", "1 (10 oz.) pkg.")
DISHES = ("Bake", "Salad", "Soup", "Cookies", "Casserole", "Pie", "Stew", "Muffins", "Skillet", "Loaf")
PEOPLE = ("Grandma's", "Sunday", "Quick", "Harvest", "Aunt Rosa's", "Lazy", "Winter", "Picnic", "Church", "Best")


def recipe(rng: random.Random, ingredients: list[tuple[str, str]]) -> dict[str, Any]:
    """A line of a training file: a title and four to six ingredients with amounts, and the list of their names."""
    chosen = rng.sample(ingredients, rng.randint(4, 6))
    title = f"{rng.choice(PEOPLE)} {chosen[0][1].title()} {rng.choice(DISHES)}"
    lines = json.dumps([f"{rng.choice(AMOUNTS)} {text}" for text, _ in chosen])
    return {
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": f"Title: {title}\n\nIngredients: {lines}\n\nGeneric ingredients: "},
            {"role": "assistant", "content": json.dumps([name for _, name in chosen])},
        ]
    }


def recipes(seed: int, count: int, ingredients: list[tuple[str, str]]) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    return [recipe(rng, ingredients) for _ in range(count)]


def names(answer: str) -> list[str]:
    """The ingredients of a list in JSON, without blanks around them; none of any other text."""
    try:
        items = json.loads(answer)
    except ValueError:
        return []
    return [str(item).strip() for item in items] if isinstance(items, list) else []


def measure(client: OpenAI, model: str, examples: list[dict[str, Any]], max_tokens: int, what: str) -> None:
    def answer(example: dict[str, Any]) -> str:
        completion = client.chat.completions.create(
            model=model, messages=example["messages"][:-1], temperature=0, max_tokens=max_tokens
        )
        return completion.choices[0].message.content or ""

    answers = steps.ask_all(answer, examples)
    expected = [example["messages"][-1]["content"] for example in examples]
    exact = sum(text == right for text, right in zip(answers, expected, strict=True))
    matches = sum(
        name in names(text) for text, right in zip(answers, expected, strict=True) for name in json.loads(right)
    )
    total = sum(len(json.loads(right)) for right in expected)
    print(f"  {model}, {what}: whole lists right {steps.rate(exact, len(examples))}, ingredients {matches}/{total}")
    print(f"    expected {expected[0]!r}\n    answered {answers[0][:100]!r}", flush=True)


def main(argv: list[str] | None = None) -> str:
    chosen = steps.parser(__doc__ or "").parse_args(argv)
    client = OpenAI(timeout=1800)
    train, valid, test, max_tokens = (10, 4, 2, 16) if chosen.quick else (40, 8, 20, 100)
    common = INGREDIENTS[:-HELD_OUT_INGREDIENTS]
    examples = recipes(chosen.seed, train + valid, common)

    print("1. Upload")
    training_file = steps.upload(client, examples[:train], "recipe_finetune_training.jsonl")
    validation_file = steps.upload(client, examples[train:], "recipe_finetune_validation.jsonl")

    print("2. Create the job and follow its events")
    job = client.fine_tuning.jobs.create(
        training_file=training_file,
        validation_file=validation_file,
        model=MODEL,
        suffix="recipe-ner",
        seed=chosen.seed,
        hyperparameters={"n_epochs": 1 if chosen.quick else "auto"},
    )
    model = steps.wait(client, job).fine_tuned_model or ""

    print("3. Recipes that are in no file")
    for name in (MODEL, model):
        measure(client, name, recipes(chosen.seed + 1, test, common), max_tokens, "other recipes")
    others = recipes(chosen.seed + 2, test, INGREDIENTS[-HELD_OUT_INGREDIENTS:])
    measure(client, model, others, max_tokens, "of ingredients never trained")
    return model


if __name__ == "__main__":
    main()
