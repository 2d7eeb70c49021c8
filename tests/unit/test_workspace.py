"""Files of the workspace are written whole, whoever else writes them at the same moment."""

import threading
from pathlib import Path

from studio.workspace import write_text


def test_threads_that_write_one_file_leave_a_whole_one_at_every_moment(tmp_path: Path) -> None:
    path, size, wrong = tmp_path / "form.json", 100_000, []
    write_text(path, "0" * size)

    def write(mark: str) -> None:
        for _ in range(25):
            try:
                write_text(path, mark * size)
                read = path.read_text()
            except OSError as error:
                wrong.append(repr(error))
            else:
                wrong.extend([read[:20]] * (len(read) != size or len(set(read)) != 1))

    threads = [threading.Thread(target=write, args=(mark,)) for mark in "123"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert [each.name for each in tmp_path.iterdir()] == ["form.json"]
