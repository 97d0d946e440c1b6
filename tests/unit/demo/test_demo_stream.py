import msgspec
import pytest

from demo.stream import Stream
from incremental_training.intake import Intake
from models.evaluation import PrequentialEvaluator
from models.events import EventDecoder, PositiveRule
from models.learner import Learner
from models.model_settings import ModelSettings
from stores.ports import USER_EVENTS, Record

RULE = PositiveRule("click:1.0")
EVERY = 3


def stream_of(history, cut=120):
    return Stream(history, cut, RULE, EVERY)


def test_it_is_the_rest_of_the_history_in_order_with_ids_that_name_the_place(busy_history):
    events = list(stream_of(busy_history).events(120))
    assert [event.position for event in events] == list(range(120, 240))
    assert [event.body["event_id"] for event in events] == [f"demo-{place}" for place in range(120, 240)]
    assert events[0].body["user_id"] == busy_history.user_ids[busy_history.users[120]]


def test_items_that_the_history_lacks_are_announced_once_with_their_first_event(busy_history):
    known = set(busy_history.items[:120].tolist())
    events = list(stream_of(busy_history).events(120))
    announced = [event.new_item.item_id for event in events if event.new_item]
    assert all(event.new_item.item_id == event.item_id for event in events if event.new_item)
    wanted = {busy_history.item_ids[item] for item in busy_history.items[120:] if item not in known}
    assert wanted
    assert sorted(announced) == sorted(wanted)


def test_going_on_from_a_place_yields_what_would_have_come_there(busy_history):
    whole = list(stream_of(busy_history).events(120))
    assert list(stream_of(busy_history).events(170)) == whole[50:]


@pytest.mark.parametrize("cut", [0, 120])
def test_it_scores_exactly_the_events_that_the_trainer_scores(busy_history, cut):
    learner = Learner(ModelSettings(dimension=4, negatives=4))
    # What came before is learned, and not one event of it scored.
    take(intake_of(learner, every=10**9), busy_history, range(cut))
    trainer = intake_of(learner, every=EVERY)
    for event in stream_of(busy_history, cut).events(cut):
        before = trainer.evaluator.scored
        take(trainer, busy_history, [event.position])
        assert trainer.evaluator.scored - before == event.scored
    assert trainer.evaluator.scored > 10


def intake_of(learner, every):
    intake = Intake(
        learner,
        PrequentialEvaluator(learner),
        EventDecoder(RULE),
        evaluate_every=every,
        dedup_window=1000,
        bad_window=100,
        bad_share=0.5,
    )
    intake.restore({}, {})  # users of the history have no place in the log
    return intake


def take(intake, history, positions):
    stream = stream_of(history, 0)
    values = [(place, msgspec.json.encode(stream.body(place))) for place in positions]
    letters = intake.take([Record(USER_EVENTS, 0, place, "", value, 1e9) for place, value in values])
    assert letters == []


def test_a_busy_user_will_soon_have_that_many_positives(busy_history):
    stream = stream_of(busy_history)
    user = stream.busy_user(120, positives=5)
    coming = [event for event in stream.events(120) if event.user_id == user and event.positive]
    assert len(coming) >= 5
    assert stream.busy_user(238, positives=5) is None


def test_favourites_are_three_items_people_have_a_name_for(busy_history):
    stream = stream_of(busy_history)
    favourites = stream.favourites()
    assert len(set(favourites)) == 3
    assert stream.title(favourites[0]) == f"Title of {favourites[0]}"
