"""Requests to the pilot of a camera drone: 16 functions, one of them `reject_request`. CC0, written for this project.

    python examples/cookbook/drone_data.py --forms split --out drone.split.jsonl

`--forms split` words commands as questions and wishes ("Can you ...?", "I need you to ...") and nine in ten
out-of-scope requests as bare imperatives, as the file of the notebook does (17 of its 19). `--forms mixed`
takes the same requests and words half of each kind as imperatives: the form tells nothing.
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


def _integer() -> dict[str, Any]:
    return {"type": "integer"}


def _choice(*values: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(values)}


_SWITCH = _choice("on", "off")
TOOLS = [
    _function("take_off", "Start the motors and rise.", height_m=_integer()),
    _function("land", "Land the drone.", place=_choice("here", "base", "pad")),
    _function(
        "move",
        "Fly in one direction.",
        direction=_choice("forward", "backward", "left", "right", "up", "down"),
        metres=_integer(),
    ),
    _function("turn", "Turn on the spot.", side=_choice("left", "right"), degrees=_integer()),
    _function("set_speed", "Set the cruising speed.", km_per_hour=_integer()),
    _function("take_photos", "Take pictures.", count=_integer()),
    _function("record_video", "Record a video.", seconds=_integer()),
    _function("tilt_camera", "Tilt the camera downwards.", degrees=_integer()),
    _function("set_lights", "Switch the lights.", mode=_choice("on", "off", "blink")),
    _function("set_battery_saver", "Switch the battery saver.", status=_SWITCH),
    _function("set_obstacle_avoidance", "Switch obstacle avoidance.", status=_SWITCH),
    _function("set_follow_me", "Follow the person with the remote control, or stop doing so.", status=_SWITCH),
    _function("calibrate", "Calibrate a sensor.", sensor=_choice("compass", "gyroscope", "barometer")),
    _function("report", "Say how the drone is.", part=_choice("battery", "position", "signal")),
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
# Near misses, in the words of the commands: the topic does not give them away. To train on, then held out.
_OUT_OF_SCOPE = (
    "film in slow motion | record the sound for 40 seconds | take a photo with flash | zoom in on the barn | "
    "turn the lights red | dim the lights by half | say over the loudspeaker that the battery is low | swap "
    "the battery | land on the water | land on the moving truck | take off with the parcel | fly through the "
    "window | move the barn to the left | turn the parcel over | measure the speed of the wind | set the speed "
    "of the truck | follow the red car | follow that dog | avoid the rain | take a picture in infrared | "
    "record what the people say | send the video to my phone | stream the video to my channel | tilt the table "
    "| calibrate the kitchen scales | report the weather | report the traffic on the road | return my money | "
    "switch the camera to night vision | count the people in the picture",
    "shoot a time lapse of the field | record a voice message | take a selfie with a filter | zoom out a "
    "little | turn the lights green | turn off the street lamps | charge the battery | land on the boat | get "
    "into the tunnel, 20 metres deep | fly under the water | move the cows 10 metres to the right | rotate the "
    "photo by 90 degrees | measure the height of the tree | set a timer for 20 minutes | set the temperature "
    "to 20 degrees | follow the blue bus | keep following the white line | avoid the police | take an X-ray "
    "picture | record the temperature for 30 seconds | mail the pictures to my boss | upload the video | "
    "switch the radio on | calibrate the oven | report the score of the match | tell me the time | bring the "
    "parcel back home | print 3 pictures | save the video on the server | check how many sheep there are",
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
            imperative = number % 2 == 0 if forms == "mixed" else kind == "reject" and number % 10 > 0
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
