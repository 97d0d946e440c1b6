from benchmarks.where import read

MAIN = "_run_module_as_main (<frozen runpy>:198);Runner.run (asyncio/runners.py:118)"
SAMPLES = f"""\
{MAIN} 900
{MAIN};App.__call__ (falcon/asgi/app.py:5);recommend (recommender_server/recommending.py:7);top (models/ranking.py:9) 30
{MAIN};recommend (recommender_server/recommending.py:8) 68
{MAIN};App.__call__ (falcon/asgi/app.py:5) 100
{MAIN};rare (models/ranking.py:1);sum (numpy/core.py:2) 2
Thread._bootstrap (threading.py:1);_run (stores/grouping.py:2) 500
"""


def test_shares_are_of_a_main_thread_at_work_by_our_own_functions():
    tree = read(SAMPLES)
    assert tree.count == 200
    recommend = "recommend (recommender_server/recommending.py)"
    assert list(tree.rows(tree.count)) == [(0, recommend, 0.49), (1, "top (models/ranking.py)", 0.15)]
