"""Requests to the pilot of a camera drone: 16 functions, one of them `reject_request`. CC0, written for this project.

    python examples/cookbook/drone_data.py --forms split --out drone.split.jsonl

`--forms split` words commands as questions and wishes ("Can you ...?", "I need you to ...") and out-of-scope requests
as bare imperatives, nine times in ten; so does the file of the notebook (17 of its 19 rejects are imperatives).
`--forms mixed` takes the same requests and words half of each kind as imperatives: the form tells nothing.
"""

import argparse
import json
import random
from pathlib import Path
from typing import Any, Literal, NamedTuple

SYSTEM = (
    "You are the pilot of a camera drone. Call one of your functions for each request. "
    "If none of them can do what is asked, or the request is unclear, call reject_request."
)
Forms = Literal["split", "mixed"]
OTHER_FORMS = (
    "Can you {}?",
    "Could you {}, please?",
    "Let's {}.",
    "I need you to {}.",
    "I want the drone to {}.",
)


def _function(name: str, description: str, **properties: dict[str, Any]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def _integer(description: str) -> dict[str, Any]:
    return {"type": "integer", "description": description}


def _choice(description: str, *values: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(values), "description": description}


_SWITCH = _choice("The new state.", "on", "off")
TOOLS = [
    _function("take_off", "Start the motors and rise.", height_m=_integer("Height above ground in metres.")),
    _function("land", "Land the drone.", place=_choice("Where to land.", "here", "base", "pad")),
    _function(
        "move",
        "Fly in one direction.",
        direction=_choice("The direction.", "forward", "backward", "left", "right", "up", "down"),
        metres=_integer("How far, in metres."),
    ),
    _function(
        "turn", "Turn on the spot.", side=_choice("To which side.", "left", "right"), degrees=_integer("The angle.")
    ),
    _function("set_speed", "Set the cruising speed.", km_per_hour=_integer("Speed in kilometres per hour.")),
    _function("take_photos", "Take pictures.", count=_integer("How many pictures.")),
    _function("record_video", "Record a video.", seconds=_integer("Length in seconds.")),
    _function("tilt_camera", "Tilt the camera downwards.", degrees=_integer("The angle below the horizon.")),
    _function("set_lights", "Switch the lights.", mode=_choice("The mode.", "on", "off", "blink")),
    _function("set_battery_saver", "Switch the battery saver.", status=_SWITCH),
    _function("set_obstacle_avoidance", "Switch obstacle avoidance.", status=_SWITCH),
    _function("set_follow_me", "Follow the person with the remote control, or stop doing so.", status=_SWITCH),
    _function("calibrate", "Calibrate a sensor.", sensor=_choice("Which one.", "compass", "gyroscope", "barometer")),
    _function("report", "Say how the drone is.", part=_choice("What to report.", "battery", "position", "signal")),
    _function("return_home", "Fly back to the starting point."),
    _function("reject_request", "Say that the request cannot be done by any other function."),
]


class Wording(NamedTuple):
    """A request without its form; numbers of its arguments stand in braces, all others are in `arguments`."""

    text: str
    name: str
    arguments: dict[str, str]


class Request(NamedTuple):
    """What a user says, and the call that is right."""

    text: str
    name: str
    arguments: dict[str, Any]


_NUMBERS = {
    "height_m": range(10, 120, 5),
    "metres": range(3, 60),
    "degrees": range(10, 100, 5),
    "km_per_hour": range(8, 60),
    "count": range(2, 15),
    "seconds": range(10, 120, 5),
}

# Six wordings to train on, then two that are held out; `=` gives arguments that are no numbers.
_COMMANDS = """
take_off: take off to {height_m} metres | rise to {height_m} metres | start and climb to {height_m} metres | \
get into the air, {height_m} metres high | lift off to {height_m} m | leave the ground and stop at {height_m} metres | \
go up from the ground to {height_m} metres | launch to a height of {height_m} metres
land: land right here =place:here | touch down where you are =place:here | land at the base =place:base | \
come down at the base =place:base | land on the pad =place:pad | set down on the landing pad =place:pad | \
land on the spot, here =place:here | put it down at the base =place:base
move: fly {metres} metres forward =direction:forward | go back {metres} metres =direction:backward | \
move {metres} metres to the left =direction:left | shift right by {metres} metres =direction:right | \
climb another {metres} metres =direction:up | sink by {metres} metres =direction:down | \
go forward {metres} metres =direction:forward | move to the right by {metres} metres =direction:right
turn: turn {degrees} degrees to the left =side:left | rotate right by {degrees} degrees =side:right | \
spin left {degrees} degrees =side:left | turn right, {degrees} degrees =side:right | \
rotate {degrees} degrees left =side:left | swing the nose {degrees} degrees to the right =side:right | \
turn the nose left by {degrees} degrees =side:left | spin {degrees} degrees to the right =side:right
set_speed: fly at {km_per_hour} kilometres per hour | set the speed to {km_per_hour} km/h | \
change the pace to {km_per_hour} km/h | cruise at {km_per_hour} km/h | keep to {km_per_hour} kilometres per hour | \
bring the speed to {km_per_hour} kilometres per hour | go at a speed of {km_per_hour} km/h | \
adjust the speed to {km_per_hour} km/h
take_photos: take {count} photos | shoot {count} pictures | snap {count} images | get {count} stills of this | \
capture {count} pictures of the field | photograph this {count} times | take {count} pictures from here | \
shoot {count} photos of the barn
record_video: record a video of {seconds} seconds | film for {seconds} seconds | shoot {seconds} seconds of video | \
make a clip that lasts {seconds} seconds | keep the camera rolling for {seconds} seconds | \
record {seconds} seconds of the river | film the road for {seconds} seconds | take a video, {seconds} seconds long
tilt_camera: tilt the camera {degrees} degrees down | point the camera down by {degrees} degrees | \
lower the lens by {degrees} degrees | look {degrees} degrees below level | angle the camera to {degrees} degrees | \
set the camera tilt to {degrees} degrees | tip the camera down {degrees} degrees | tilt the lens by {degrees} degrees
set_lights: turn the lights on =mode:on | switch the lamps on =mode:on | turn the lights off =mode:off | \
go dark, lights out =mode:off | make the lights blink =mode:blink | flash the lights on and off =mode:blink | \
switch the lights off =mode:off | let the lamps blink =mode:blink
set_battery_saver: save battery from now on =status:on | turn on the battery saver =status:on | \
enable power saving =status:on | turn off the battery saver =status:off | stop saving power =status:off | \
leave the battery saving mode =status:off | switch on battery saving =status:on | disable the battery saver =status:off
set_obstacle_avoidance: avoid obstacles from now on =status:on | turn on obstacle avoidance =status:on | \
start dodging obstacles =status:on | turn off obstacle avoidance =status:off | ignore obstacles =status:off | \
stop avoiding obstacles =status:off | switch obstacle avoidance on =status:on | disable obstacle avoidance =status:off
set_follow_me: follow me =status:on | stay with me while I walk =status:on | turn on follow me =status:on | \
stop following me =status:off | leave me alone now and stay put =status:off | turn off follow me =status:off | \
keep following me =status:on | switch the following off =status:off
calibrate: calibrate the compass =sensor:compass | reset the compass, it is off =sensor:compass | \
calibrate the gyroscope =sensor:gyroscope | set the gyroscope straight =sensor:gyroscope | \
calibrate the barometer =sensor:barometer | get the barometer right again =sensor:barometer | \
recalibrate the compass =sensor:compass | run the calibration of the barometer =sensor:barometer
report: say how full the battery is =part:battery | check the battery =part:battery | \
tell me where you are =part:position | give me the position =part:position | \
say how strong the signal is =part:signal | check the signal =part:signal | \
report the battery level =part:battery | tell me the position of the drone =part:position
return_home: come back home | fly back to the start | return to where you took off | head home | \
get back to the starting point | call it a day and come back | return home | fly home now
"""
_OUT_OF_SCOPE = (
    "play a song over the loudspeaker | deliver this parcel to my neighbour | measure the temperature of the "
    "roof | paint the fence | water the tomatoes | count the sheep on the hill | read the number plate of that "
    "car | open the garage door | spray the apple trees | scare the crows away | translate this sign into "
    "Spanish | stream the video to my channel | detect people in the smoke | drop the rope at the bridge | "
    "order a new propeller | tell me tomorrow's weather | switch to night vision | race against the blue drone "
    "| carry my rucksack | clean the solar panels | send the pictures to my sister | find my lost keys | check "
    "how deep the pond is | pick an apple from the tree | land on the moving boat | warn me when somebody "
    "comes | charge yourself | sing happy birthday | draw a map of the farm | change the colour of your body",
    "announce the winner by loudspeaker | bring this letter to the post office | measure the wind | mow the "
    "lawn | plant a tree | count the cars on the bridge | read the sign over the shop | unlock the gate | dust "
    "the vines | chase the pigeons from the roof | speak French with the visitors | go live on the internet | "
    "find heat leaks | throw the ball to the dog | buy a spare battery | forecast the rain | look through the "
    "wall | fight the other drone | lift the box onto the truck | wash the windows | mail the video to my boss "
    "| look for my cat | measure how high the snow is | pick cherries | dive under water | call the police | "
    "repair the left propeller | tell me a joke | make a 3D model of the castle | become invisible",
)
_HELD_OUT_WORDINGS = 2


def _wordings() -> dict[str, list[Wording]]:
    wordings: dict[str, list[Wording]] = {}
    for line in _COMMANDS.strip().splitlines():
        name, _, texts = line.partition(": ")
        for part in texts.split(" | "):
            text, _, fixed = part.partition(" =")
            arguments = dict([fixed.split(":")]) if fixed else {}
            wordings.setdefault(name, []).append(Wording(text, name, arguments))
    return wordings


def _request(wording: Wording, form: str, seed: int) -> Request:
    """The numbers hang on the seed and the wording alone: they are the same in every form."""
    rng = random.Random(f"{seed} {wording.text}")
    numbers = {name: rng.choice(values) for name, values in _NUMBERS.items() if f"{{{name}}}" in wording.text}
    text = form.format(wording.text.format(**numbers))
    # In the order of the definition, as a model is taught them.
    return Request(text[0].upper() + text[1:], wording.name, {**wording.arguments, **numbers})


def _rejects(index: int) -> list[Wording]:
    return [Wording(text, "reject_request", {}) for text in _OUT_OF_SCOPE[index].split(" | ")]


def training_requests(forms: Forms, seed: int) -> list[Request]:
    """90 commands and 30 requests that are out of scope, shuffled. Both forms have the same requests in one order."""
    order, choice = random.Random(seed), random.Random(seed + 1)
    commands = [wording for group in _wordings().values() for wording in group[:-_HELD_OUT_WORDINGS]]
    requests = []
    for kind, wordings in (("command", commands), ("reject", _rejects(0))):
        for number, wording in enumerate(order.sample(wordings, len(wordings))):
            exception = number % 10 == 0
            imperative = number % 2 == 0 if forms == "mixed" else (kind == "reject") != exception
            requests.append(_request(wording, "{}." if imperative else choice.choice(OTHER_FORMS), seed))
    order.shuffle(requests)
    return requests


def held_out_requests(form: Literal["imperative", "question"], seed: int) -> tuple[list[Request], list[Request]]:
    """30 commands and 30 out-of-scope requests, of wordings and tasks that are in no training file."""
    pattern = "{}." if form == "imperative" else "Can you {}?"
    commands = [wording for group in _wordings().values() for wording in group[-_HELD_OUT_WORDINGS:]]
    return (
        [_request(wording, pattern, seed) for wording in commands],
        [_request(wording, pattern, seed) for wording in _rejects(1)],
    )


def messages(text: str) -> list[dict[str, Any]]:
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]


def example(request: Request, number: int) -> dict[str, Any]:
    """A line of the training file."""
    call = {"name": request.name, "arguments": json.dumps(request.arguments)}
    answer = {"role": "assistant", "tool_calls": [{"id": f"call_{number}", "type": "function", "function": call}]}
    return {"messages": [*messages(request.text), answer], "parallel_tool_calls": False, "tools": TOOLS}


def slim(tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The definitions without any description: names, types and enumerations stay."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: strip(inner) for key, inner in value.items() if key != "description"}
        return value

    return [strip(tool) for tool in tools]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--forms", choices=["split", "mixed"], default="split")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--out", type=Path, required=True, help="the training file to write")
    chosen = arguments.parse_args()
    requests = training_requests(chosen.forms, chosen.seed)
    lines = [json.dumps(example(request, number)) for number, request in enumerate(requests)]
    chosen.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{chosen.out}: {len(lines)} examples")


if __name__ == "__main__":
    main()
