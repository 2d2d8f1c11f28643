"""The front door: `luthier`, one file per group of commands.

The table below is the loop in the order in which one learns it, and all that `luthier --help` needs: a command's
file is imported when the command is called, so help is quick and `luthier check` never loads the training libraries.
Commands know the server only through the official `openai` client.
"""

import importlib
from typing import NamedTuple

import click

from luthier import __version__
from luthier.cli.errors import Trouble, renamed_settings_shown, settings_trouble
from luthier.cli.i18n import lang_option, language_of, use_language
from luthier.language import say
from luthier.types.errors import LuthierError


class Entry(NamedTuple):
    """One command: its name, where it lives, and what it does in both languages."""

    name: str
    target: str
    en: str
    zh: str


LOOP = (
    Entry("quickstart", "luthier.cli.quickstart:quickstart", "The whole loop once, on examples that come along.",
          "用自带的样本把整个流程走一遍。"),
    Entry("serve", "luthier.cli.serve:serve", "Run the server that OpenAI's clients speak to.",
          "启动服务器，OpenAI 客户端直接连接。"),
    Entry("worker", "luthier.cli.worker:worker", "Run a worker alone, beside a server or without one.",
          "单独运行工作进程，与服务器配合或独立运行。"),
    Entry("generate", "luthier.cli.generate:generate", "Examples written by a teacher model, checked and counted.",
          "由教师模型编写样本，并检查、计数。"),
    Entry("check", "luthier.cli.check:check", "Check a training file: every error with its line and remedy.",
          "检查训练文件：逐行指出错误和改法。"),
    Entry("split", "luthier.cli.split:split", "Hold out examples for validation; copies stay on one side.",
          "留出验证样本；相同或相近的样本不会分到两边。"),
    Entry("estimate", "luthier.cli.estimate:estimate", "What training on a file takes: tokens, money, minutes, memory.",
          "训练一个文件的代价：token、费用、时间、内存。"),
    Entry("tune", "luthier.cli.tune:tune", "Check, upload, train and watch: from a file to a fine-tuned model.",
          "检查、上传、训练、观察：从文件到微调模型。"),
    Entry("sweep", "luthier.cli.sweep:sweep", "Try several hyperparameters; rank the models by validation loss.",
          "尝试多组超参数，按验证损失给模型排名。"),
    Entry("watch", "luthier.cli.watch:watch", "Follow a job to its end.", "观察微调任务，直到结束。"),
    Entry("jobs", "luthier.cli.jobs:jobs", "List, show and cancel jobs; their events, checkpoints, results.",
          "列出、查看、取消微调任务；事件、检查点、结果。"),
    Entry("files", "luthier.cli.files:files", "List, upload, download and delete files.",
          "列出、上传、下载、删除文件。"),
    Entry("models", "luthier.cli.models:models", "List, show, delete models; fetch base models.",
          "列出、查看、删除模型；获取基座模型。"),
    Entry("chat", "luthier.cli.chat:chat", "Talk to a base model or a fine-tuned model.",
          "与基座模型或微调模型对话。"),
    Entry("evaluate", "luthier.cli.evaluate:evaluate", "Measure models on held-out examples: calls or texts.",
          "用留出的样本评估模型：函数调用或文本。"),
)  # fmt: skip


class Front(click.Group):
    """The group `luthier`: imports a command when it is called, and turns what goes wrong into one message."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [entry.name for entry in LOOP]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for entry in LOOP:
            if entry.name == cmd_name:
                module, attribute = entry.target.split(":")
                command: click.Command = getattr(importlib.import_module(module), attribute)
                return command
        return None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Reads `--lang` before any command is imported, so that its help is in that language too."""
        use_language(ctx, language_of(args))
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            with renamed_settings_shown():
                return super().invoke(ctx)
        except LuthierError as error:
            finding = getattr(error, "finding", None)  # what reading a file stopped at, which knows both languages
            said = f"{finding.text()}. {finding.remedy()}" if finding else str(error)
            raise Trouble(said) from error
        except ValueError as error:
            raise settings_trouble(error) from error
        except BrokenPipeError:  # whoever read what is printed has gone; click ends quietly
            raise
        except OSError as error:
            raise Trouble(f"{error.filename}: {error.strerror}" if error.filename else str(error)) from error
        except KeyboardInterrupt:
            click.echo(err=True)
            ctx.exit(130)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(
                say(
                    "Fine-tune open-weight models on your own machine through OpenAI's API. The commands below are the "
                    "loop, in order; with no server named, each starts one for as long as it runs.",
                    "在自己的机器上，通过 OpenAI 的接口微调开放权重的模型。下面的命令按顺序就是完整的流程；"
                    "没有指定服务器时，命令会自己启动一个，结束时一并关闭。",
                )
            )
            formatter.write_paragraph()
            formatter.write_text(say("Start here: luthier quickstart", "从这里开始：luthier quickstart"))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section(say("The loop", "流程")):
            formatter.write_dl([(entry.name, say(entry.en, entry.zh)) for entry in LOOP])


@click.group(cls=Front, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", prog_name="luthier")
@lang_option
def main() -> None:
    """Fine-tune open-weight models on your own machine through OpenAI's API."""
