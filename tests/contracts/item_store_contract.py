"""What every item store must do. A subclass supplies ``new_url``: each call returns the URL of a fresh, empty store."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.items import Item
from stores.adapters import open_item_reader, open_item_writer
from stores.ports import ItemReader, Numbered, ServingState, StaleEpoch, version_of

ROOT = Path(__file__).parents[2]

PUTTING_PROCESS = """
import asyncio, sys
from models.items import Item
from stores.adapters import open_item_reader
url, name = sys.argv[1:]

async def main():
    reader = open_item_reader(url, timeout_s=30.0)
    for nth in range(50):
        await reader.put_many([Item(f"{name}{nth}", title=f"Common {name}"), Item("both", title=f"From {name}")])
    await reader.close()

asyncio.run(main())
"""

WHALE = Item("i1", title="Moby Dick", category="novels", price=9.5, text="A captain hunts a white whale.")
STARS = Item("i2", title="Star Wars", text="A farm boy leaves his planet.", attributes={"year": 1977, "tags": ["x"]})
TREK = Item("i3", title="Journey", text="To the stars and back, with a whale.")
CAFE = Item("i4", title="Café Müller", text="Танец и кофе")

# Query languages, control characters, what is no Unicode, and far too much.
QUERIES = (
    *("", " ", "\0", '"', '""" "', "*", "-whale", "^", "whale AND", "NOT", "title:", "title : x", "NEAR(a b", "a OR"),
    *("(", "{a} : b", "+", "'; DROP TABLE items; --", "%", "_", "\\", "\ud800", "🔑", "!!! ???", "w" * 10_000),
    *("whale " * 5_000, "whale\0moby", "@{}[]|<>:;,.?~`#$^&="),
)


def _state(version: int, learned: int = 0) -> ServingState:
    report = {"events_learned": learned, "recall_at_10": 0.125}
    return ServingState(version, 64, [[1.0, 0.5, 0.25], [0.9, 0.4, 0.2]], 0.8, 10, {0: learned, 3: 7}, report)


class ItemStoreContract:
    @pytest.fixture
    def new_url(self) -> Callable[[], str]:
        raise NotImplementedError

    @pytest.fixture
    def url(self, new_url: Callable[[], str]) -> str:
        return new_url()

    @pytest.fixture
    def writer(self, url: str):
        with closing(open_item_writer(url)) as writer:
            yield writer

    def run(self, url: str, scenario: Callable[[ItemReader], Awaitable[object]]) -> object:
        """Run an async scenario with the items as serving sees them."""

        async def with_reader() -> object:
            reader = open_item_reader(url)
            try:
                return await scenario(reader)
            finally:
                await reader.close()

        return asyncio.run(with_reader())

    def get(self, url: str, *item_ids: str) -> dict[str, Item]:
        return self.run(url, lambda reader: reader.get_many(item_ids))

    def found(self, url: str, text: str, limit: int = 10) -> list[str]:
        return [item.item_id for item in self.run(url, lambda reader: reader.search_text(text, limit))]

    def popular(self, url: str, name: str, limit: int = 10) -> list[tuple[str, float]]:
        return self.run(url, lambda reader: reader.popular(name, limit))

    def neighbours(self, url: str, *item_ids: str) -> dict[str, list[tuple[str, float]]]:
        found = self.run(url, lambda reader: reader.neighbours(item_ids))
        return {item_id: list(edges) for item_id, edges in found.items()}

    def recent_users(self, url: str, *item_ids: str) -> dict[str, list[str]]:
        return self.run(url, lambda reader: reader.recent_users(item_ids))

    def newest(self, url: str, limit: int = 10, **of: object) -> list[Numbered]:
        return self.run(url, lambda reader: reader.newest(limit, **of))

    def numbers(self, url: str, **of: object) -> dict[str, int]:
        return {item.item_id: number for number, item in self.newest(url, **of)}

    def serving_state(self, url: str) -> ServingState | None:
        return self.run(url, lambda reader: reader.serving_state())

    # --- items

    def test_an_empty_store_has_nothing(self, url):
        assert self.get(url, "i1") == {}
        assert self.get(url) == {}
        assert self.popular(url, "all") == []
        assert self.neighbours(url, "i1") == {}
        assert self.found(url, "whale") == []
        assert self.serving_state(url) is None
        assert self.newest(url) == self.newest(url, category="novels") == []
        assert self.run(url, lambda reader: reader.scan(0, 10)) == []
        assert self.run(url, lambda reader: reader.categories()) == {}

    def test_items_come_back_as_they_were_and_unknown_ones_are_left_out(self, writer, url):
        writer.put_many([WHALE, STARS])
        assert self.get(url, "i1", "unknown", "i2", "i1") == {"i1": WHALE, "i2": STARS}

    def test_many_are_read_at_once(self, writer, url):
        items = {f"i{n}": Item(f"i{n}", title=f"Number {n}") for n in range(300)}
        writer.put_many(list(items.values()))
        assert self.get(url, *(f"i{n}" for n in range(400))) == items

    def test_writing_through_is_visible_to_another_reader_at_once(self, url):
        async def write_and_ask(reader: ItemReader) -> dict[str, Item]:
            other = open_item_reader(url)
            await other.get_many(["i1"])
            await reader.put_many([WHALE])
            answer = await other.get_many(["i1"])
            await other.close()
            return answer

        assert self.run(url, write_and_ask) == {"i1": WHALE}

    def test_the_last_write_of_an_item_wins_whoever_writes(self, writer, url):
        writer.put_many([WHALE])
        self.run(url, lambda reader: reader.put_many([Item("i1", title="Second")]))
        assert self.get(url, "i1")["i1"].title == "Second"
        for _ in range(2):
            writer.put_many([Item("i1", title="Third"), Item("i1", title="Fourth")])
        assert self.get(url, "i1")["i1"].title == "Fourth"

    def test_writing_nothing_is_nothing(self, writer, url):
        writer.put_many([])
        writer.delete([])
        writer.put_neighbours({}, version_of(1, 1))
        writer.put_popular({}, version_of(1, 1))
        writer.put_recent_users({}, version_of(1, 1))
        self.run(url, lambda reader: reader.put_many([]))
        assert self.get(url, "i1") == {}

    def test_deleting_removes_the_item_its_words_and_its_edges(self, writer, url):
        writer.put_many([WHALE, TREK])
        writer.put_neighbours({"i1": [("i3", 1.0)], "i3": [("i2", 1.0)]}, version_of(1, 1))
        writer.put_recent_users({"i1": ["u1"], "i3": ["u1"]}, version_of(1, 1))
        for _ in range(2):
            writer.delete(["i1", "never seen"])
        assert self.get(url, "i1", "i3") == {"i3": TREK}
        assert self.found(url, "whale") == ["i3"]
        assert self.neighbours(url, "i1", "i3") == {"i3": [("i2", 1.0)]}
        assert self.recent_users(url, "i1", "i3") == {"i3": ["u1"]}
        assert self.numbers(url, category="novels") == {}
        writer.put_many([WHALE])
        assert self.found(url, "moby") == ["i1"]

    def test_processes_write_at_once_and_nothing_is_lost(self, writer, url):
        commands = [[sys.executable, "-c", PUTTING_PROCESS, url, name] for name in ("A", "B")]
        with subprocess.Popen(commands[0], cwd=ROOT) as one, subprocess.Popen(commands[1], cwd=ROOT) as other:
            seq = 0
            while one.poll() is None or other.poll() is None:
                seq += 1
                writer.put_neighbours({f"i{n}": [("both", float(seq))] for n in range(10)}, version_of(1, seq))
        assert (one.returncode, other.returncode) == (0, 0)
        assert len(self.get(url, *(f"{name}{nth}" for name in "AB" for nth in range(50)))) == 100
        assert len(self.found(url, "common", limit=200)) == 100
        assert self.neighbours(url, "i3") == {"i3": [("both", float(seq))]}
        assert self.get(url, "both")["both"].title in ("From A", "From B")
        assert self.found(url, "from") == ["both"]

    # --- listing

    def test_the_newest_come_first_page_after_page_and_changing_an_item_makes_it_no_newer(self, writer, url):
        writer.put_many([WHALE, STARS, TREK])
        writer.put_many([CAFE, Item("i2", title="Changed")])
        pages, before = [], None
        while page := self.newest(url, 3, before=before):
            pages.append([item.item_id for _, item in page])
            before = page[-1].number
        assert pages == [["i4", "i3", "i2"], ["i1"]]
        assert self.newest(url, 4)[2].item.title == "Changed"

    def test_items_are_listed_and_counted_by_category(self, writer, url):
        writer.put_many([WHALE, STARS, Item("i5", category="novels"), Item("i6", category="ключ: 🔑")])
        assert [item.item_id for _, item in self.newest(url, category="novels")] == ["i5", "i1"]
        assert [item.item_id for _, item in self.newest(url, category="novels", before=self.numbers(url)["i5"])] == [
            "i1"
        ]
        assert self.newest(url, category="unknown") == []
        assert self.run(url, lambda reader: reader.categories()) == {"novels": 2, "ключ: 🔑": 1}
        writer.put_many([Item("i5", category="ключ: 🔑"), Item("i1", category="novels", available=False)])
        assert [item.item_id for _, item in self.newest(url, category="ключ: 🔑")] == ["i6", "i5"]
        assert self.run(url, lambda reader: reader.categories()) == {"ключ: 🔑": 2}

    def test_a_hidden_item_is_not_listed_and_comes_back_to_its_place(self, writer, url):
        writer.put_many([WHALE, STARS])
        hidden = Item("i2", title="Star Wars", available=False)
        writer.put_many([hidden])
        assert list(self.numbers(url)) == ["i1"]
        assert [item for _, item in self.run(url, lambda reader: reader.scan(0, 10))] == [WHALE, hidden]
        writer.put_many([STARS, CAFE])
        assert list(self.numbers(url)) == ["i4", "i2", "i1"]

    def test_scanning_tells_every_item_once(self, writer, url):
        items = [Item(f"i{n}", title=f"Number {n}", available=n % 3 > 0) for n in range(50)]
        writer.put_many(items)
        writer.delete(["i7"])

        async def scan(reader: ItemReader) -> list[Item]:
            found: list[Numbered] = []
            while page := await reader.scan(found[-1].number if found else 0, 7):
                assert len(page) <= 7
                found += page
            return [item for _, item in found]

        assert self.run(url, scan) == [item for item in items if item.item_id != "i7"]

    # --- text search

    def test_every_word_must_match_in_title_or_text(self, writer, url):
        writer.put_many([WHALE, STARS, TREK, CAFE])
        assert self.found(url, "moby whale") == ["i1"]
        assert self.found(url, "white planet") == []
        assert sorted(self.found(url, "WHALE")) == ["i1", "i3"]

    def test_the_last_word_matches_by_its_beginning_the_others_whole(self, writer, url):
        writer.put_many([WHALE, STARS, TREK])
        assert self.found(url, "white wha") == ["i1"]
        assert self.found(url, "mo") == ["i1"]
        assert self.found(url, "m") == ["i1"]
        assert self.found(url, "whi whale") == []

    def test_a_title_weighs_more_than_a_text(self, writer, url):
        writer.put_many([TREK, STARS, WHALE])
        assert self.found(url, "star") == ["i2", "i3"]
        assert self.found(url, "star", limit=1) == ["i2"]

    def test_accents_and_other_scripts(self, writer, url):
        writer.put_many([CAFE, WHALE])
        assert self.found(url, "cafe mull") == ["i4"]
        assert self.found(url, "кофе") == ["i4"]

    def test_an_unavailable_item_is_never_found_but_still_known(self, writer, url):
        writer.put_many([WHALE, TREK])
        gone = Item("i1", title="Moby Dick", text="whale", available=False)
        writer.put_many([gone])
        assert self.found(url, "whale", limit=1) == ["i3"]
        assert self.get(url, "i1") == {"i1": gone}
        writer.put_many([WHALE])
        assert sorted(self.found(url, "whale")) == ["i1", "i3"]

    def test_a_changed_item_is_found_by_its_new_words_only(self, writer, url):
        writer.put_many([WHALE])
        writer.put_many([Item("i1", title="Pequod")])
        assert self.found(url, "moby") == []
        assert self.found(url, "pequod") == ["i1"]

    @pytest.mark.parametrize("text", QUERIES)
    def test_any_text_is_safe(self, writer, url, text):
        writer.put_many([WHALE])
        assert self.found(url, text) in ([], ["i1"])

    def test_any_text_at_all_is_safe(self, writer, url):
        writer.put_many([WHALE, STARS])

        @settings(max_examples=20, deadline=None)
        @given(st.lists(st.text(max_size=40), max_size=20))
        def check(texts: list[str]) -> None:
            async def search(reader: ItemReader) -> None:
                for text in texts:
                    assert len(await reader.search_text(text, 10)) <= 2

            self.run(url, search)

        check()

    def test_punctuation_around_words_does_not_matter(self, writer, url):
        writer.put_many([STARS])
        assert self.found(url, '"star" (wars)!') == ["i2"]
        assert self.found(url, "star-wars") == ["i2"]

    # --- popular lists

    def test_a_popular_list_is_replaced_whole(self, writer, url):
        writer.put_popular({"all": [("i1", 3.0), ("i2", 2.0), ("i3", 1.0)]}, version_of(1, 1))
        writer.put_popular({"novels": [("i1", 3.0)]}, version_of(1, 1))
        assert self.popular(url, "all", 2) == [("i1", 3.0), ("i2", 2.0)]
        writer.put_popular({"all": [("i4", 0.5)]}, version_of(1, 2))
        assert self.popular(url, "all") == [("i4", 0.5)]
        assert self.popular(url, "novels") == [("i1", 3.0)]
        writer.put_popular({"all": []}, version_of(1, 3))
        assert self.popular(url, "all") == []

    # --- the item graph

    def test_all_edges_of_an_item_are_replaced(self, writer, url):
        edges = [(f"n{n}", 1.0 / (n + 1)) for n in range(100)]
        writer.put_neighbours({"i1": edges, "i2": [("i3", 1.0)]}, version_of(1, 1))
        assert self.neighbours(url, "i1", "i2", "unknown") == {"i1": edges, "i2": [("i3", 1.0)]}
        writer.put_neighbours({"i1": [("i9", 0.5)]}, version_of(1, 2))
        assert self.neighbours(url, "i1", "i2") == {"i1": [("i9", 0.5)], "i2": [("i3", 1.0)]}

    # --- recent users of items

    def test_the_recent_users_of_an_item_are_replaced_whole(self, writer, url):
        writer.put_recent_users({"i1": ["u2", "ключ 🔑"], "i2": ["u1"]}, version_of(1, 1))
        assert self.recent_users(url, "i1", "i2", "unknown") == {"i1": ["u2", "ключ 🔑"], "i2": ["u1"]}
        writer.put_recent_users({"i1": ["u9"]}, version_of(1, 2))
        assert self.recent_users(url, "i1", "i2") == {"i1": ["u9"], "i2": ["u1"]}
        assert self.recent_users(url) == {}

    # --- rules

    def test_rules_are_stored_by_name_replaced_and_removed(self, url):
        async def put(reader: ItemReader) -> list[dict[str, bytes]]:
            found = [await reader.rules()]
            for name, rule in (("a", b"1"), ("ключ 🔑", bytes(range(256))), ("a", b"2"), ("a", None), ("a", None)):
                await reader.put_rule(name, rule)
                found.append(await reader.rules())
            return found

        odd = {"ключ 🔑": bytes(range(256))}
        assert self.run(url, put) == [{}, {"a": b"1"}, {"a": b"1"} | odd, {"a": b"2"} | odd, odd, odd]

    # --- serving state

    def test_the_serving_state_is_replaced(self, writer, url):
        writer.put_serving_state(_state(version_of(1, 1)))
        writer.put_serving_state(_state(version_of(1, 2), learned=2))
        assert self.serving_state(url) == _state(version_of(1, 2), learned=2)

    # --- versions and epochs, the same for all four

    def write(self, writer, kind: str, version: int, mark: float) -> None:
        if kind == "popular":
            writer.put_popular({"all": [("i1", mark)]}, version)
        elif kind == "neighbours":
            writer.put_neighbours({"i1": [("i2", mark)]}, version)
        elif kind == "recent_users":
            writer.put_recent_users({"i1": [str(mark)]}, version)
        else:
            writer.put_serving_state(_state(version, learned=int(mark)))

    def read(self, url: str, kind: str) -> float:
        if kind == "popular":
            return self.popular(url, "all")[0][1]
        if kind == "neighbours":
            return self.neighbours(url, "i1")["i1"][0][1]
        if kind == "recent_users":
            return float(self.recent_users(url, "i1")["i1"][0])
        state = self.serving_state(url)
        assert state is not None
        return state.learned[0]

    @pytest.mark.parametrize("kind", ["popular", "neighbours", "recent_users", "serving_state"])
    def test_an_older_version_changes_nothing_and_of_one_version_the_last_counts(self, writer, url, kind):
        self.write(writer, kind, version_of(1, 5), 5.0)
        self.write(writer, kind, version_of(1, 4), 4.0)
        assert self.read(url, kind) == 5
        for mark in (5.0, 6.0, 6.0):
            self.write(writer, kind, version_of(1, 5), mark)
            assert self.read(url, kind) == mark
        self.write(writer, kind, version_of(2, 1), 7.0)
        assert self.read(url, kind) == 7

    @pytest.mark.parametrize("kind", ["popular", "neighbours", "recent_users", "serving_state"])
    def test_an_older_epoch_is_refused_also_after_another_kind_of_write(self, writer, url, kind):
        self.write(writer, kind, version_of(1, 1), 1.0)
        writer.put_popular({"other": []}, version_of(2, 1))
        with pytest.raises(StaleEpoch):
            self.write(writer, kind, version_of(1, 9), 9.0)
        with closing(open_item_writer(url)) as other, pytest.raises(StaleEpoch):
            self.write(other, kind, version_of(1, 9), 9.0)
        assert self.read(url, kind) == 1

    def test_closing_can_be_repeated(self, url):
        writer = open_item_writer(url)
        writer.close()
        writer.close()

        async def close_twice(reader: ItemReader) -> None:
            await reader.search_text("whale", 1)
            await reader.close()

        self.run(url, close_twice)
