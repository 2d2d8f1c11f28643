"""`luthier files`: `client.files` on the command line."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import click
import httpx

from luthier.cli.client import check_kind, open_client
from luthier.cli.errors import CliError
from luthier.cli.files_from_completions import from_completions
from luthier.cli.options import Options, pass_options, server_options
from luthier.cli.output import (
    format_bytes,
    local_time,
    note,
    print_details,
    print_json,
    print_table,
    spinner,
    stdout_console,
    to_json,
)
from luthier.language import say

if TYPE_CHECKING:
    import openai
    from openai.types import FileObject, FilePurpose

PURPOSES = ("fine-tune", "assistants", "batch", "vision", "user_data", "evals")


_LINES_OF_JSON = ("", ".txt", ".json", ".ndjson", ".jl")  # other suffixes that JSONL files may have


def upload_file(client: openai.OpenAI, path: Path, purpose: FilePurpose = "fine-tune") -> FileObject:
    """Uploads `path` and waits until the server has processed it.

    Servers accept training files only under a name that ends in .jsonl. Where the name has another common suffix of
    JSON lines, the file is uploaded under a changed name, and a note says so.

    Raises:
        CliError: The server could not read the file.
    """
    name = path.name
    if purpose == "fine-tune" and path.suffix.lower() in _LINES_OF_JSON:
        name = f"{path.stem}.jsonl"
        note(say(f"{path.name} is uploaded under the name {name}, which servers require.",
                 f"{path.name} 以服务器所要求的名字 {name} 上传。"))  # fmt: skip
    with spinner(say(f"Uploading {path.name} …", f"正在上传 {path.name}……")), path.open("rb") as file:
        uploaded = client.files.create(file=(name, file), purpose=purpose)
        if uploaded.status == "uploaded":
            uploaded = client.files.wait_for_processing(uploaded.id, poll_interval=1)
    if uploaded.status == "error":
        raise CliError(
            say(
                f"The server could not read {path.name}: {uploaded.status_details}",
                f"服务器无法读取 {path.name}：{uploaded.status_details}",
            ),
            say(f"Check it: luthier check {path}", f"检查文件：luthier check {path}"),
        )
    return uploaded


@click.group(
    invoke_without_command=True,
    help=say(
        "List, upload, show, download and delete files.\n\nExample: luthier files upload train.jsonl",
        "列出、上传、查看、下载、删除文件。\n\n例子：luthier files upload train.jsonl",
    ),
)
@server_options
@click.pass_context
def files(ctx: click.Context) -> None:
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_files)


files.add_command(from_completions)


@files.command(
    "list",
    help=say(
        "List files, newest first.\n\nExample: luthier files list --purpose fine-tune-results",
        "列出文件，新的在前。\n\n例子：luthier files list --purpose fine-tune-results",
    ),
)
@click.option("--purpose", help=say("Only files of this purpose.", "只列出该用途的文件。"))
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True)
@server_options
@pass_options
def list_files(options: Options, purpose: str | None, limit: int) -> None:
    with open_client(options) as client:
        pages = client.files.list(limit=limit, purpose=purpose) if purpose else client.files.list(limit=limit)
        listed = list(islice(pages, limit))
        check_kind(client, listed, "file")
    if options.json:
        print_json([to_json(file) for file in listed])
        return
    columns = (
        say("id", "编号"),
        say("name", "文件名"),
        say("purpose", "用途"),
        say("size", "大小"),
        say("created", "创建时间"),
    )
    rows = [(f.id, f.filename, f.purpose, format_bytes(f.bytes), local_time(f.created_at)) for f in listed]
    empty = say("No files yet: luthier files upload train.jsonl", "还没有文件：luthier files upload train.jsonl")
    print_table(columns, rows, empty=empty)


@files.command(
    "upload",
    help=say(
        "Upload files.\n\nExample: luthier files upload train.jsonl valid.jsonl",
        "上传文件。\n\n例子：luthier files upload train.jsonl valid.jsonl",
    ),
)
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--purpose", type=click.Choice(PURPOSES), default="fine-tune", show_default=True)
@server_options
@pass_options
def upload(options: Options, paths: tuple[Path, ...], purpose: FilePurpose) -> None:
    with open_client(options) as client:
        uploaded = [upload_file(client, path, purpose) for path in paths]
    if options.json:
        print_json([to_json(file) for file in uploaded])
    else:
        for file in uploaded:
            click.echo(f"{file.id}  {file.filename}")


@files.command(
    "show",
    help=say(
        "Show one file.\n\nExample: luthier files show file-abc123",
        "查看一个文件。\n\n例子：luthier files show file-abc123",
    ),
)
@click.argument("file_id")
@server_options
@pass_options
def show(options: Options, file_id: str) -> None:
    with open_client(options) as client:
        details = to_json(client.files.retrieve(file_id))
    print_json(details) if options.json else print_details(details)


@files.command(
    "report",
    help=say(
        "Show the findings that were recorded when a job validated a file. Exit code 1 if the file has errors.\n\n"
        "Example: luthier files report file-abc123",
        "查看微调任务校验文件时发现的问题。文件有错误时退出码为 1。\n\n例子：luthier files report file-abc123",
    ),
)
@click.argument("file_id")
@server_options
@pass_options
def report(options: Options, file_id: str) -> None:
    from luthier.cli.check_report import print_report
    from luthier.data.findings import Report

    with open_client(options) as client:
        # This route is Luthier's own, so the client has no method for it.
        path = f"/files/{quote(file_id, safe='')}/report"
        document = client.get(path, cast_to=httpx.Response).json()
    if options.json:
        print_json(document)
    else:
        print_report(stdout_console(), Path(file_id), Report.from_dict(document))
    raise click.exceptions.Exit(0 if document["ok"] else 1)


@files.command(
    "download",
    help=say(
        "Download a file unchanged, under its own name unless -o sets another; -o - writes to stdout.\n\n"
        "Example: luthier files download file-abc123 -o train.jsonl",
        "原样下载文件；默认使用原文件名，可用 -o 指定，-o - 写到标准输出。\n\n"
        "例子：luthier files download file-abc123 -o train.jsonl",
    ),
)
@click.argument("file_id")
@click.option("-o", "--output", metavar="PATH", help=say("Output path.", "输出路径。"))
@click.option("--force", is_flag=True, help=say("Overwrite an existing file.", "覆盖已有文件。"))
@server_options
@pass_options
def download(options: Options, file_id: str, output: str | None, force: bool) -> None:
    with open_client(options) as client:
        # The name comes from the server. Only its last component is used, so that the file stays in this folder.
        name = output or Path(client.files.retrieve(file_id).filename).name or file_id
        content = client.files.content(file_id).read()
    if name == "-" and not options.json:
        sys.stdout.buffer.write(content)
        return
    _write(Path(name), content, force)
    if options.json:
        print_json({"id": file_id, "path": name, "bytes": len(content)})
    else:
        click.echo(name)


def _write(path: Path, content: bytes, force: bool) -> None:
    try:
        with path.open("wb" if force else "xb") as target:
            target.write(content)
    except FileExistsError as error:
        raise CliError(
            say(f"{path} already exists.", f"{path} 已存在。"),
            say("Overwrite it with --force, or choose another path with -o.", "用 --force 覆盖，或用 -o 另选路径。"),
        ) from error
    except OSError as error:
        raise CliError(say(f"{path} cannot be written: {error}", f"{path} 无法写入：{error}")) from error


@files.command(
    "delete",
    help=say(
        "Delete files; models that were trained on them are not affected.\n\nExample: luthier files delete file-abc123",
        "删除文件；用它们训练出的模型不受影响。\n\n例子：luthier files delete file-abc123",
    ),
)
@click.argument("file_ids", nargs=-1, required=True)
@server_options
@pass_options
def delete(options: Options, file_ids: tuple[str, ...]) -> None:
    with open_client(options) as client:
        deleted = [client.files.delete(file_id) for file_id in file_ids]
    if options.json:
        print_json([to_json(answer) for answer in deleted])
        return
    for answer in deleted:
        note(say(f"Deleted {answer.id}.", f"已删除 {answer.id}。"))
