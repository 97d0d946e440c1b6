from dataclasses import dataclass

import pytest

from models.settings import BadSettings, check_or_exit, describe, load, setting


def _no_spaces(text: str) -> None:
    if " " in text:
        raise ValueError("must not contain spaces")


@dataclass(frozen=True)
class One:
    url: str = setting("ONE_URL", doc="Where.", check=_no_spaces)
    count: int = setting("ONE_COUNT", 3, doc="How many.", minimum=1, maximum=9)
    share: float = setting("ONE_SHARE", 0.5, doc="How much.", minimum=0)
    loud: bool = setting("ONE_LOUD", False, doc="Whether.")


@dataclass(frozen=True)
class Two:
    name: str = setting("TWO_NAME", doc="Who.")


def test_given_ones_are_read_and_the_others_have_their_defaults():
    assert load(One, {"ONE_URL": "x", "ONE_COUNT": "7", "ONE_LOUD": "yes"}) == One("x", 7, 0.5, True)


def test_every_fault_is_named_in_one_message():
    environ = {"ONE_COUNT": "10", "ONE_SHARE": "nan", "ONE_LOUD": "perhaps"}
    with pytest.raises(BadSettings) as caught:
        load(One, environ)
    assert [line.split("=")[0].split(" ")[0] for line in str(caught.value).splitlines()] == [
        "ONE_URL",
        "ONE_COUNT",
        "ONE_SHARE",
        "ONE_LOUD",
    ]


@pytest.mark.parametrize("environ", [{"ONE_URL": "a b"}, {"ONE_URL": "x", "ONE_COUNT": "1.5"}])
def test_what_cannot_be_used_is_refused(environ):
    with pytest.raises(BadSettings, match="ONE_"):
        load(One, environ)


def test_a_password_is_not_shown():
    with pytest.raises(BadSettings, match="://…@host/x y'") as caught:
        load(One, {"ONE_URL": "kafka://me:se@cret@host/x y"})
    assert "cret" not in str(caught.value)


def test_a_program_names_the_faults_of_all_its_settings_and_ends_with_2(capsys):
    with pytest.raises(SystemExit) as caught:
        check_or_exit({"ONE_COUNT": "0"}, One, Two)
    assert caught.value.code == 2
    printed = capsys.readouterr().err
    assert all(name in printed for name in ("ONE_URL", "ONE_COUNT", "TWO_NAME"))
    check_or_exit({"ONE_URL": "x", "TWO_NAME": "y"}, One, Two)


def test_they_describe_themselves():
    assert describe(One)[:2] == [("ONE_URL", "(required)", "Where."), ("ONE_COUNT", "3", "How many.")]
