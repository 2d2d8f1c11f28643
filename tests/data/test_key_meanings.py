"""What unused keys mean, by the words in their names and by their values."""

from typing import Any

import pytest

from luthier.data.examples.key_meanings import flagged_weight, meaning_of

TEXT = "The Elbe rises in the Giant Mountains."


@pytest.mark.parametrize(
    ("key", "value", "meaning"),
    [
        ("is_valid", False, "preference"),
        ("isValid", "false", "preference"),
        ("keep", False, "preference"),
        ("keep", 0, "preference"),
        ("keep_example", "no", "preference"),
        ("useful", -1, "preference"),
        ("not_useful", True, "preference"),
        ("response_accepted", "no", "preference"),
        ("是否有用", "否", "preference"),
        ("有效", False, "preference"),
        ("deleted", 1, "preference"),
        ("is_bad", "yes", "preference"),
        ("rejected", True, "preference"),
        ("无效", "是", "preference"),
        ("status", "rejected", "preference"),
        ("review-status", "Declined", "preference"),
        ("审核状态", "驳回", "preference"),
        ("like", -1, "preference"),
        ("thumbs", "down", "preference"),
        ("rejected_answer", "x", "preference"),
        ("wrongAnswer", "x", "preference"),
        ("Bad Response", TEXT, "preference"),
        ("incorrect_answers", ["x"], "preference"),
        ("错误答案", "x", "preference"),
        ("chat_history", [["a", "b"]], "context"),
        ("conversationHistory", TEXT, "context"),
        ("retrieved_docs", ["a"], "context"),
        ("context_text", TEXT, "context"),
        ("document_1", TEXT, "context"),
        ("文档", "易北河流经德累斯顿。", "context"),
        ("对话历史", ["a"], "context"),
        ("is_train", False, "loss"),
        ("compute_loss", 0, "loss"),
        ("is_masked", True, "loss"),
        ("learn", "no", "loss"),
        ("skip", True, "loss"),
        ("exclude_from_training", True, "loss"),
        ("lossMask", [0, 1], "loss"),
        ("是否训练", "否", "loss"),
        ("System Prompt", TEXT, "system"),
    ],
)
def test_words_of_a_name_have_a_meaning(key: str, value: Any, meaning: str) -> None:
    assert meaning_of(key, value) == meaning


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training_source", "web"), ("context_length", 3), ("document_id", "doc 12"), ("history_url", "https://x.org"),
        ("document", ""), ("source_document", "doc_12"), ("has_context", True), ("use_history", "yes"),
        ("version_history", TEXT), ("train_split", 1), ("train_loss", 2.31), ("is_valid", True), ("keep", "yes"),
        ("deleted", False), ("rejected", False), ("是否有用", "是"), ("status", "approved"), ("status", TEXT),
        ("state", "Saxony"), ("like", 0), ("likes", 120), ("like", 1), ("helpful_votes", 0), ("correct_answer", "no"),
        ("correct_answer", 0), ("wrong_answer_count", 3), ("bad_words", ["x"]), ("rejected_by", "Ann"),
        ("skip_count", 0), ("valid_until", 0), ("learner", False), ("reviewed", False), ("verified", False),
        ("label", "bad"), ("skipped", TEXT), ("trainer", "Ann"), ("notes", TEXT), ("文档编号", "七号文档"),
        ("", False), ("1", 0),
    ],
)  # fmt: skip
def test_other_names_and_values_have_none(key: str, value: Any) -> None:
    assert meaning_of(key, value) is None


@pytest.mark.parametrize(
    ("key", "weight_of_true"),
    [
        ("loss", 1), ("is_train", 1), ("isTrain", 1), ("compute_loss", 1), ("learn", 1), ("Train On Turn", 1),
        ("include_in_loss", 1), ("是否训练", 1), ("skip", 0), ("skip_loss", 0), ("not_trained", 0), ("no-train", 0),
        ("exclude_from_training", 0), ("ignoreLoss", 0), ("不训练", 0), ("is_masked", None), ("mask_loss", None),
        ("mask", None), ("keep", None), ("training_source", None), ("score", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("truth", "is_true"), [(True, True), ("1", True), (1.0, True), (0, False), ("否", False)])
def test_flags_of_the_loss_are_weights(key: str, weight_of_true: int | None, truth: Any, is_true: bool) -> None:
    expected = None if weight_of_true is None else weight_of_true if is_true else 1 - weight_of_true
    assert flagged_weight(key, truth) == expected
    assert flagged_weight(key, "perhaps") is None
