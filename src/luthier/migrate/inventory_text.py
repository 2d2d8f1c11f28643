"""The texts of an inventory, for the terminal and the HTML page."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from luthier.language import Language, say
from luthier.migrate.account import Gap
from luthier.migrate.inventory import FileEntry, Inventory, ModelEntry, losses

if TYPE_CHECKING:
    import jinja2

ROLES = {"training": ("training", "训练"), "validation": ("validation", "验证"), "result": ("results", "结果")}
_DATE_SOURCES = {
    "account": ("from the account", "账号给出"),
    "published": ("published", "已公布"),
    "inferred": ("inferred", "推断"),
}
_FILE_STATES = {"available": ("available", "可下载"), "deleted": ("DELETED", "已删除"), "unknown": ("unknown", "未知")}


def columns(language: Language | None = None) -> list[str]:
    """The column titles of the table of models."""
    return [
        say("model", "模型", language),
        say("days left", "剩余天数", language),
        say("last day", "最后一天", language),
        say("state", "状态", language),
        say("base", "基座", language),
        say("job", "任务", language),
        say("files", "文件", language),
        say("checkpoints", "检查点", language),
    ]


def days_left(inventory: Inventory, model: ModelEntry) -> str:
    days = model.days_left(inventory.today)
    return "–" if days is None else str(days)


def last_day(model: ModelEntry, language: Language | None = None) -> str:
    """The shutdown date and its source."""
    if model.local:
        return say("none", "无", language)
    shutdown = model.shutdown
    if shutdown is None:
        return say("not published", "未公布", language)
    prefix = "≥ " if shutdown.earliest else ""
    return f"{prefix}{shutdown.date.isoformat()} ({say(*_DATE_SOURCES[shutdown.source], language)})"


def model_state(inventory: Inventory, model: ModelEntry, language: Language | None = None) -> str:
    if model.is_off(inventory.today):
        return say("switched off", "已关闭", language)
    if model.listed is None:
        return say("unknown", "未知", language)
    return say("listed", "在列表中", language) if model.listed else say("no longer listed", "已不在列表中", language)


def file_state(file: FileEntry, language: Language | None = None) -> str:
    return say(*_FILE_STATES[file.state], language)


def notes(inventory: Inventory, language: Language | None = None) -> list[str]:
    """Sentences about the limits of the inventory: unreadable parts, inferred dates, the project of the key."""
    lines = []
    if day := inventory.last_training_day:
        text = ("≥ " if day.earliest else "") + day.date.isoformat()
        lines.append(
            say(f"Last day for new training jobs there: {text}.", f"该服务接受新训练任务的最后一天：{text}。", language)
        )
    if any(model.shutdown and model.shutdown.source == "inferred" for model in inventory.models):
        lines.append(
            say(
                "Inferred: the service published a day for other snapshots of this base, or several days without "
                "saying which base ends on which. Ask its support before you rely on it.",
                "推断：该服务只公布了同一基座其他快照的日期，或公布了几个日期但没有说明对应哪个基座。请先向其支持"
                "部门确认。",
                language,
            )
        )
    if inventory.provider != "azure":
        lines.append(
            say(
                "A key can access only one project. For other projects, run this command again with their keys, or "
                "with --project.",
                "一个密钥只能看到一个项目。其他项目请换用它们的密钥，或加 --project 再运行一次。",
                language,
            )
        )
    else:
        lines.append(
            say(
                "On Azure a model answers under the name of its deployment; a model without one has to be deployed "
                "before its answers can be recorded.",
                "在 Azure 上要用部署名调用模型；没有部署的模型，录制回答之前需要先部署。",
                language,
            )
        )
    if off := sum(model.is_off(inventory.today) for model in inventory.models):
        lines.append(
            say(
                f"Models that are already off: {off}. Their files and jobs can still be saved.",
                f"已经关闭的模型：{off} 个。它们的文件和任务仍可保存。",
                language,
            )
        )
    return lines + [gap_text(area, language) for area in inventory.gaps]


def gap_text(area: Gap, language: Language | None = None) -> str:
    """A sentence that says why a part of the account is missing."""
    if area.is_absent:
        return say(
            f"This service does not support: {area.area} ({area.message})",
            f"此服务不支持：{area.area}（{area.message}）",
            language,
        )
    return say(
        f"Not readable with this key: {area.area} ({area.message})",
        f"此密钥无法读取：{area.area}（{area.message}）",
        language,
    )


def render_html(inventory: Inventory, language: Language | None = None) -> str:
    """The inventory as a self-contained HTML page, without scripts or external resources."""
    return _template().render(
        inventory=inventory,
        losses=losses(inventory, language),
        notes=notes(inventory, language),
        columns=columns(language),
        days=lambda model: days_left(inventory, model),
        last_day=lambda model: last_day(model, language),
        state=lambda model: model_state(inventory, model, language),
        file_state=lambda file: file_state(file, language),
        role_name=lambda role: say(*ROLES[role], language),
        words=lambda en, zh: say(en, zh, language),
        language=language,
        lang=say("en", "zh-CN", language),
    )


@cache
def _template() -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("luthier.migrate"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("inventory.html.jinja")
