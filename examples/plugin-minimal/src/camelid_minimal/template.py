"""A prompt template, as data: one format per role."""

from camelid_core.templates.role_template import RoleTemplate

QUESTION_ANSWER = RoleTemplate(
    name="question-answer",
    help="'Question: … Answer: …', one under the other.",
    system="{content}\n\n",
    user="Question: {content}\n",
    assistant="Answer:",
    answer_start=" ",
    between="\n\n",
    stops=("\nQuestion:",),
)
