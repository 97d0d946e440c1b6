import sys

from demo import offline


def test_a_folder_without_a_finished_demo_has_nothing_to_compare(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["offline", str(tmp_path)])
    assert offline.main() == offline.NOTHING
    assert "holds no finished demo" in capsys.readouterr().err
