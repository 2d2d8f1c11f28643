"""The third-party clients that `make test-clients` runs: how each is installed, what it does with the server."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_HERE = Path(__file__).parent
_NODE_PACKAGES = _HERE / "node_clients" / "package.json"
Skill = Literal["conversation", "stream", "tool call", "parallel calls", "structured output"]
SKILLS: tuple[Skill, ...] = ("conversation", "stream", "tool call", "structured output")
RESPONSES_SKILLS: tuple[Skill, ...] = ("conversation", "stream", "tool call", "parallel calls", "structured output")


@dataclass(frozen=True)
class Client:
    """`environment`: a file of `requirements`, or "node". `package`: whose version the page tells. `script`: of
    `clients` or `node_clients`. `way`: how the API is selected. `lacks`: what the client does not offer.
    """

    title: str
    environment: str
    package: str
    script: str
    way: str
    lacks: tuple[Skill, ...] = ()
    api: Literal["chat completions", "responses"] = "chat completions"

    @property
    def skills(self) -> list[Skill]:
        offered = RESPONSES_SKILLS if self.api == "responses" else SKILLS
        return [skill for skill in offered if skill not in self.lacks]

    @property
    def version(self) -> str:
        if self.environment == "node":
            versions: dict[str, str] = json.loads(_NODE_PACKAGES.read_text(encoding="utf-8"))["dependencies"]
            return versions[self.package]
        path = _HERE / "requirements" / f"{self.environment}.txt"
        lines = path.read_text(encoding="utf-8").splitlines()
        return next(line.split("==")[1] for line in lines if line.startswith(f"{self.package}=="))


CLIENTS = [
    Client("OpenAI Python", "openai-3.57.0", "openai", "use_openai", "`client.chat.completions`"),
    Client("OpenAI Python, older", "openai-1.109.1", "openai", "use_openai", "`client.chat.completions`"),
    Client("OpenAI Node", "node", "openai", "use_openai", "`client.chat.completions`"),
    Client("Agents SDK, Python", "openai-agents", "openai-agents", "use_openai_agents", "`OpenAIChatCompletionsModel`"),
    Client(
        "Agents SDK, JavaScript", "node", "@openai/agents", "use_openai_agents", '`setOpenAIAPI("chat_completions")`'
    ),
    Client("Vercel AI SDK", "node", "ai", "use_ai_sdk", "`openai.chat(model)`"),
    Client("pydantic-ai", "pydantic-ai", "pydantic-ai-slim", "use_pydantic_ai", "`OpenAIChatModel`, `openai-chat:`"),
    Client("LangChain, Python", "langchain", "langchain-openai", "use_langchain", "`ChatOpenAI`, its default"),
    Client("LangChain, JavaScript", "node", "@langchain/openai", "use_langchain", "`ChatOpenAI`, its default"),
    Client("LlamaIndex", "llama-index", "llama-index-llms-openai-like", "use_llama_index", "`OpenAILike`"),
    Client("LiteLLM", "litellm", "litellm", "use_litellm", "`completion`, its default"),
    Client(
        "Instructor",
        "instructor",
        "instructor",
        "use_instructor",
        "`from_openai`, its default",
        lacks=("conversation",),
    ),
    Client("DSPy", "dspy", "dspy", "use_dspy", "`dspy.LM`, its default", lacks=("stream",)),
    Client("AutoGen", "autogen", "autogen-ext", "use_autogen", "`OpenAIChatCompletionClient`"),
    Client("Semantic Kernel", "semantic-kernel", "semantic-kernel", "use_semantic_kernel", "`OpenAIChatCompletion`"),
    Client("llm", "llm", "llm", "use_llm", "`extra-openai-models.yaml`", lacks=("tool call", "structured output")),
]


def _responses(title: str, environment: str, package: str, script: str, way: str, *lacks: Skill) -> Client:
    return Client(title, environment, package, script, way, lacks, "responses")


RESPONSES_CLIENTS = [
    _responses("OpenAI Python", "openai-3.57.0", "openai", "use_openai_responses", "`client.responses`"),
    _responses("OpenAI Python, older", "openai-1.109.1", "openai", "use_openai_responses", "`client.responses`"),
    _responses("OpenAI Node", "node", "openai", "use_openai_responses", "`client.responses`"),
    _responses("Agents SDK, Python", "openai-agents", "openai-agents", "use_openai_agents", "its default"),
    _responses("Agents SDK, JavaScript", "node", "@openai/agents", "use_openai_agents", "its default"),
    _responses("Vercel AI SDK", "node", "ai", "use_ai_sdk", "`openai(model)`, its default"),
    _responses(
        "pydantic-ai", "pydantic-ai", "pydantic-ai-slim", "use_pydantic_ai", "`OpenAIResponsesModel`, `openai:`"
    ),
    _responses("LangChain, Python", "langchain", "langchain-openai", "use_langchain", "`use_responses_api=True`"),
    _responses("LangChain, JavaScript", "node", "@langchain/openai", "use_langchain", "`useResponsesApi: true`"),
    _responses("LlamaIndex", "llama-index", "llama-index-llms-openai", "use_llama_index", "`OpenAIResponses`"),
    _responses("LiteLLM", "litellm", "litellm", "use_litellm_responses", "`responses`"),
    _responses(
        "Instructor",
        "instructor",
        "instructor",
        "use_instructor",
        "`Mode.RESPONSES_TOOLS`",
        "conversation",
        "parallel calls",
    ),
]
