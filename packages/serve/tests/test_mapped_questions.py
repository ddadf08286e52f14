"""A mapping of the question alone is enough for a prediction: there is no answer to name."""

from camelid_serve.predict.inputs import open_input


def test_questions_need_no_answer_column(tmp_path):
    path = tmp_path / "sums.csv"
    path.write_text("Frage,right\nWhat is 1 + 1?,2\n", encoding="utf-8")
    for reference in ("", "right"):
        rows = list(open_input(str(path), "instruction=Frage", reference).rows())
        assert [row.error for row in rows] == [""]
        assert rows[0].gold == ("2" if reference else "")
