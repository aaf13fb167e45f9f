from __future__ import annotations

import pytest

from app.training.reporting.markdown import WIDTH, counted, listed, number, percent, reflowed, table


def test_reflowed__paragraph__is_filled_to_the_width() -> None:
    lines = reflowed("\n".join(["word"] * 100)).splitlines()
    assert len(lines) > 1
    assert all(WIDTH - 5 <= len(line) <= WIDTH for line in lines[:-1])


def test_reflowed__blocks__are_one_empty_line_apart() -> None:
    assert reflowed("\n\n\n# Head\n\n\n\nText.\n\n") == "# Head\n\nText.\n"


def test_reflowed__headings_tables_and_images__stay_as_they_are() -> None:
    kept = ("# " + "long " * 40).strip(), table(("a" * 80, "b" * 80), [("1", "2")]), "![one](a.png)\n![two](b.png)"
    assert reflowed("\n\n".join(kept)) == "\n\n".join(kept) + "\n"


def test_reflowed__list__keeps_its_items_and_indents_what_follows() -> None:
    text = reflowed("* short\n  one\n* " + "word " * 40)
    first, second, rest = text.splitlines()
    assert first == "* short one"
    assert second.startswith("* word")
    assert rest.startswith("  word")


def test_reflowed__bold_paragraph__is_no_list() -> None:
    assert reflowed("**A warning\nin two lines.**") == "**A warning in two lines.**\n"


def test_reflowed__hashes_and_hyphens__are_not_torn() -> None:
    assert reflowed(f"{'word ' * 20}`{'f' * 64}` cross-entropy").splitlines()[1].startswith("`f")


def test_table__empty_corner__has_one_space() -> None:
    assert table(("", "a"), [("x", "1")]) == "| | a |\n| --- | --- |\n| x | 1 |"


def test_table__row_too_short__is_refused() -> None:
    with pytest.raises(ValueError, match="another length"):
        table(("a", "b"), [("1",)])


def test_numbers__missing__are_a_dash() -> None:
    assert (percent(None), number(None)) == ("–", "–")
    assert (percent(0.84067), percent(0.5, digits=0), number(0.12345)) == ("84.07 %", "50 %", "0.1235")


@pytest.mark.parametrize(("words", "text"), [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")])
def test_listed__words__read_as_a_sentence(words: list[str], text: str) -> None:
    assert listed(words) == text


def test_counted__one__is_singular() -> None:
    assert (counted(1, "month"), counted(2500, "window")) == ("1 month", "2,500 windows")
    assert (counted(1, "stretch", "stretches"), counted(2, "stretch", "stretches")) == ("1 stretch", "2 stretches")
