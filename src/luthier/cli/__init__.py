"""The command line `luthier`: one module per group of commands.

`COMMANDS` lists them in the order of the workflow and is all that `luthier --help` needs. A command's module is
imported when the command is called, so help is fast and `luthier check` does not load the training libraries. Commands
reach a server only through the official `openai` client.
"""

import difflib
import importlib
import io
import json
import sys
from typing import Any, NamedTuple, NoReturn

import click

from luthier import __version__
from luthier.cli import click_texts
from luthier.cli.errors import CliError, error_document, renamed_settings_shown, settings_error
from luthier.cli.i18n import lang_option, language_of, language_set, use_language
from luthier.language import say
from luthier.types.errors import LuthierError


class Entry(NamedTuple):
    """A command: its name, its import target, and its short help in both languages."""

    name: str
    target: str
    en: str
    zh: str


COMMANDS = (
    Entry("quickstart", "luthier.cli.quickstart:quickstart", "The whole workflow once, on bundled examples.",
          "用自带的样本把整个流程走一遍。"),
    Entry("serve", "luthier.cli.serve:serve", "Run the server that OpenAI clients connect to.",
          "启动供 OpenAI 客户端连接的服务器。"),
    Entry("worker", "luthier.cli.worker:worker", "Run a worker, together with a server or without one.",
          "运行 worker，与服务器配合或独立运行。"),
    Entry("migrate", "luthier.cli.migrate:migrate", "Save a hosted fine-tuning account before it is switched off.",
          "在托管的微调账号关闭之前保存其内容。"),
    Entry("generate", "luthier.cli.generate:generate", "Generate examples with a teacher model.",
          "用教师模型生成样本。"),
    Entry("check", "luthier.cli.check:check", "Check a training file: every error with line and remedy.",
          "检查训练文件：指出每个错误的行和改法。"),
    Entry("split", "luthier.cli.split:split", "Hold out validation examples, without near duplicates across files.",
          "留出验证样本；近似重复的样本分在同一文件。"),
    Entry("estimate", "luthier.cli.estimate:estimate", "Estimate training: tokens, cost, time, memory.",
          "估算训练所需的 token、费用、时间和内存。"),
    Entry("tune", "luthier.cli.tune:tune", "Turn a file into a fine-tuned model: check, upload, train, watch.",
          "从文件到微调模型：检查、上传、训练、观察。"),
    Entry("sweep", "luthier.cli.sweep:sweep", "Compare hyperparameters by validation loss.",
          "比较多组超参数，按验证损失排名。"),
    Entry("watch", "luthier.cli.watch:watch", "Follow a job until it ends.", "观察微调任务，直到结束。"),
    Entry("jobs", "luthier.cli.jobs:jobs", "List, show and cancel jobs; events, checkpoints, results.",
          "列出、查看、取消微调任务；事件、检查点、结果。"),
    Entry("files", "luthier.cli.files:files", "List, upload, download and delete files.",
          "列出、上传、下载、删除文件。"),
    Entry("models", "luthier.cli.models:models", "List, show, delete models; pull base models.",
          "列出、查看、删除模型；获取基座模型。"),
    Entry("reproduce", "luthier.cli.reproduce:reproduce", "Train a model again and compare every step.",
          "重新训练一个模型，逐步比较。"),
    Entry("export", "luthier.cli.export:export", "Export a model: PEFT, merged, GGUF, Ollama, vLLM.",
          "导出模型：PEFT、合并权重、GGUF、Ollama、vLLM。"),
    Entry("chat", "luthier.cli.chat:chat", "Chat with a base model or a fine-tuned model.",
          "与基座模型或微调模型对话。"),
    Entry("evaluate", "luthier.cli.evaluate:evaluate", "Evaluate models on held-out examples: tool calls or text.",
          "用留出的样本评估模型：函数调用或文本。"),
    Entry("alias", "luthier.cli.alias:alias", "Short names for models.", "给模型起短名称。"),
    Entry("config", "luthier.cli.config:config", "Settings in a config file.", "用文件保存设置。"),
    Entry("keys", "luthier.cli.keys:keys", "API keys: roles, projects, limits, rotation.",
          "API 密钥：角色、项目、限额、轮换。"),
    Entry("audit", "luthier.cli.keys:audit", "Who changed what on the server.", "谁在服务器上修改了什么。"),
    Entry("backup", "luthier.cli.backup:backup", "Copy the data folder while the server runs.",
          "在服务器运行时备份数据文件夹。"),
    Entry("restore", "luthier.cli.backup:restore", "Restore a backup into an empty data folder.",
          "把备份恢复到空的数据文件夹。"),
    Entry("store", "luthier.cli.store:store", "Move the database from SQLite to PostgreSQL, or back.",
          "把数据库从 SQLite 移到 PostgreSQL，或移回来。"),
    Entry("prune", "luthier.cli.prune:prune", "Show what can be deleted, and its size.",
          "列出可以删除的内容及其大小。"),
    Entry("doctor", "luthier.cli.doctor:doctor", "Check this machine and installation.", "检查本机和安装情况。"),
    Entry("completion", "luthier.cli.completion:completion", "Shell completion for bash, zsh and fish.",
          "bash、zsh、fish 的自动补全。"),
)  # fmt: skip


class MainGroup(click.Group):
    """The group `luthier`: imports commands on demand, and reports an error as a message with its remedy."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [entry.name for entry in COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for entry in COMMANDS:
            if entry.name == cmd_name:
                module, attribute = entry.target.split(":")
                command: click.Command = getattr(importlib.import_module(module), attribute)
                return command
        return None

    def main(self, *args: Any, **options: Any) -> Any:
        """Runs the command line in the language of `--lang`, errors included, which are shown after it has ended."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # for Chinese on an ASCII terminal, for example
        words = args[0] if args else options.get("args")
        words = sys.argv[1:] if words is None else words
        with language_set(language_of(words)):
            if "--json" in words and options.get("standalone_mode", True):
                return self._main_with_json_errors(*args, **options)
            return super().main(*args, **options)

    def _main_with_json_errors(self, *args: Any, **options: Any) -> NoReturn:
        """Runs the command line; an error is also printed to stdout, as a JSON document."""
        try:
            exit_code = super().main(*args, **(options | {"standalone_mode": False}))
        except click.ClickException as error:
            click.echo(json.dumps(error_document(error), ensure_ascii=False, indent=2))
            error.show()
            sys.exit(error.exit_code)
        except click.Abort:
            sys.exit(1)
        sys.exit(exit_code if isinstance(exit_code, int) else 0)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggests the nearest command for a misspelt one."""
        names = self.list_commands(ctx)
        near = difflib.get_close_matches(args[0], names, n=1) if args and args[0] not in names else []
        if near and not args[0].startswith("-"):
            ctx.fail(say(f"No such command '{args[0]}'. Did you mean {near[0]}?",
                         f"没有命令 '{args[0]}'。是否指 {near[0]}？"))  # fmt: skip
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Applies `--lang` before a command is imported, so that its help is in that language too."""
        use_language(ctx, language_of(args))
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Runs the command, and turns the errors that users can act on into a CliError with their remedy."""
        try:
            with renamed_settings_shown():
                return super().invoke(ctx)
        except click.NoSuchOption as error:  # suggest only the nearest option
            raise click.NoSuchOption(
                error.option_name, error.message, (error.possibilities or [])[:1], error.ctx
            ) from None
        except LuthierError as error:
            finding = getattr(error, "finding", None)  # set for an unreadable file, with texts in both languages
            text = f"{finding.sentence()}{say(' ', '')}{finding.remedy()}" if finding else str(error)
            raise CliError(text) from error
        except ValueError as error:
            raise settings_error(error) from error
        except BrokenPipeError:  # the reader of stdout has exited; click ends quietly
            raise
        except OSError as error:
            raise CliError(f"{error.filename}: {error.strerror}" if error.filename else str(error)) from error
        except KeyboardInterrupt:
            click.echo(err=True)
            ctx.exit(130)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(
                say(
                    "Fine-tune open-weight models on your own CPU or GPU through OpenAI's API. The commands are listed "
                    "in the order of the workflow. Without a server address, a command starts its own server for its "
                    "duration.",
                    "在自己的 CPU 或 GPU 上，通过 OpenAI 的 API 微调开放权重的模型。下面的命令按工作流程排列；"
                    "没有指定服务器地址时，命令在运行期间使用自己启动的服务器。",
                )
            )
            formatter.write_paragraph()
            formatter.write_text(say("Start here: luthier quickstart", "从这里开始：luthier quickstart"))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section(say("Workflow", "工作流程")):
            formatter.write_dl([(entry.name, say(entry.en, entry.zh)) for entry in COMMANDS])


click_texts.install()


@click.group(cls=MainGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", prog_name="luthier")
@lang_option
def main() -> None:
    """Fine-tune open-weight models on your own CPU or GPU through OpenAI's API."""
