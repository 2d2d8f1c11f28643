"""The axes along which questions vary: kind of task, persona, and level of knowledge, in both languages."""

from luthier.language import Language

TASKS: dict[Language, tuple[str, ...]] = {
    "zh": (
        "概念解释：问一个术语或原理是什么意思",
        "比较：在两种做法或产品之间比较",
        "计算：带具体数字，要求算出结果",
        "场景建议：描述自己的处境，问该怎么做",
        "风险提示：问某种做法可能出什么问题",
        "操作步骤：问一件事具体怎么办理",
        "误区辨析：带着一个常见的误解来提问",
        "原因分析：问某个现象为什么会发生",
    ),
    "en": (
        "concept: asks what a term or a principle means",
        "comparison: asks which of two ways or products fits better",
        "calculation: gives numbers and wants the result",
        "advice: describes a situation and asks what to do",
        "risk: asks what can go wrong with a plan",
        "procedure: asks how something is done, step by step",
        "misconception: asks from a common misunderstanding",
        "cause: asks why something happens",
    ),
}
PERSONAS: dict[Language, tuple[str, ...]] = {
    "zh": (
        "刚工作的年轻人",
        "有孩子的双职工家庭",
        "临近退休的职工",
        "小企业主",
        "自由职业者",
        "在校大学生",
        "全职照顾家庭的人",
        "同行业的从业者",
        "谨慎、怕出错的人",
        "性子急、想要直接结论的人",
    ),
    "en": (
        "someone in a first job",
        "a parent of two who works full time",
        "an employee close to retirement",
        "the owner of a small business",
        "a freelancer",
        "a student",
        "someone who looks after the home",
        "a professional of the same field",
        "a cautious person afraid of mistakes",
        "an impatient person who wants the bottom line",
    ),
}
LEVELS: dict[Language, tuple[str, ...]] = {
    "zh": ("入门", "一般了解", "熟悉"),
    "en": ("beginner", "some knowledge", "experienced"),
}
