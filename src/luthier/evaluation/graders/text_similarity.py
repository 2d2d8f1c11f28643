"""`text_similarity`: the similarity of the input and a reference text, by a metric of `similarity`."""

from collections.abc import Iterable
from typing import Any

from luthier.evaluation.graders.context import GraderContext
from luthier.evaluation.graders.failures import other_failure
from luthier.evaluation.graders.grader_type import GraderType
from luthier.evaluation.graders.similarity import cosine, similarity
from luthier.evaluation.graders.templates import Sample, fill
from luthier.types.graders import TextSimilarity

_MAX_CHARACTERS = 200_000  # some metrics take time proportional to the product of the lengths


class TextSimilarityGrader(GraderType[TextSimilarity]):
    request = TextSimilarity

    def templates(self, grader: TextSimilarity) -> Iterable[tuple[str, str]]:
        return ("input", grader.input), ("reference", grader.reference)

    def reward(
        self, grader: TextSimilarity, sample: Sample, data_item: dict[str, Any], context: GraderContext
    ) -> float:
        text, reference = fill(grader.input, sample, data_item), fill(grader.reference, sample, data_item)
        if max(len(text), len(reference)) > _MAX_CHARACTERS:
            raise other_failure(f"the texts to compare are too long: at most {_MAX_CHARACTERS:,} characters each")
        if grader.evaluation_metric == "cosine":
            return cosine(*context.embeddings([text, reference]))
        return similarity(grader.evaluation_metric, text, reference)
